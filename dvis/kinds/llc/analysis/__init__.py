"""From chains to the local learning coefficient, and what can be asked of it."""

"""Questions about influence."""

"""Which latents are one over checkpoints: plans of their tracks, and the words of their groups."""

"""Activations: what layers give for every sample of an image set, kept."""

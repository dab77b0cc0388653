"""Sparse autoencoders: a layer's activations as sums of few learned directions."""

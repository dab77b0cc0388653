"""Edges: the share that each input channel of a convolution has in each of its outputs."""

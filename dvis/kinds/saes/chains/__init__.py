"""Autoencoders on autoencoders: plans of their chains, and the words of their groups."""

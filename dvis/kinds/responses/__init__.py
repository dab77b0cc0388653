"""Responses: activations of units for fixed images."""

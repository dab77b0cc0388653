"""Sizes: how much of the image moves a unit, by its effective receptive field."""

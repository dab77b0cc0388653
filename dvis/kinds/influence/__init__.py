"""Influence: how much each channel of a layer changes each channel of a later one."""

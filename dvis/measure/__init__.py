"""Measurements: one model in, one labelled Dataset out; none knows a store or a checkpoint loop."""

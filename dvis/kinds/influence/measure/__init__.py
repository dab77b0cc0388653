"""Influence measured: by ablation, or by its first order."""

"""Local learning coefficient: chains of samples around a checkpoint's weights."""

"""Models as torch sees them: checkpoints, architectures, images, hooks and training."""

"""How measurements run over checkpoints: tasks, executors, and where to compute."""

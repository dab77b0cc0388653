"""How measurements run over checkpoints: tasks, executors, and what they start from."""

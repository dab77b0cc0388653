"""Questions to influence: whether features are built out of others, and how steady circuits are."""

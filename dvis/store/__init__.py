"""What lies in a store: its contents, its groups, the one who writes them."""

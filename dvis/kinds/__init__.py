"""A kind of measurement is one folder here, and one line in the registry."""

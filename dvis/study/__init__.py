"""A study: a file of steps, each a command of dvis, planned and run as a whole."""

"""The commands of `dvis`, one module for each group of them."""

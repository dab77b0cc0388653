"""The jpg/json tree of existing runs: into a store, and out of it."""

"""A report of a store: what a run learned when, and how sure that is, as html or pdf."""

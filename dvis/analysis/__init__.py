"""Analysis: Dataset in, Dataset out, without torch."""

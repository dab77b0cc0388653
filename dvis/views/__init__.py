"""Pictures of a store's Datasets: Dataset in, matplotlib figure out, without torch."""

"""What the page shows of feature images."""

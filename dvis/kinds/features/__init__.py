"""Feature images: the images that drive units most, at every checkpoint."""

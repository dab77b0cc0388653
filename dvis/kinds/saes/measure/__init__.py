"""Training of sparse autoencoders, and what is measured of them."""

"""Mean and variance of each channel's responses to noise: the example of CONTRIBUTING.md."""

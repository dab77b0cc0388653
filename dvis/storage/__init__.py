"""The files of a store: blocks of images, groups and how they grow, locks, the writing side."""

"""Sparse autoencoders of a store's activations: python scripts/sae.py train STORE --layer ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("sae")

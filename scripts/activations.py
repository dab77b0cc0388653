"""Activations of an image set: python scripts/activations.py --model resnet18 ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("activations")

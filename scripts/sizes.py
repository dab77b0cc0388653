"""Sizes of receptive fields over training: python scripts/sizes.py --model resnet18 ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("sizes")

"""Layers of one checkpoint below those of another: python scripts/chimera.py --model resnet18 ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("chimera")

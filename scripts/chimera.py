"""Layers of one checkpoint below those of another: python scripts/chimera.py --model M ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("chimera")

"""Influence between channels: python scripts/influence.py --model resnet18 --layers layer1 ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("influence")

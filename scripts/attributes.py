"""Drawn pairs that differ in one attribute: python scripts/attributes.py --model resnet18 ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("attributes")

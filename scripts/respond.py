"""Responses to images: python scripts/respond.py --model resnet18 --checkpoint-path DIR ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("respond")

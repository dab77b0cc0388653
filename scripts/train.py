"""Train a model: python scripts/train.py --model resnet18 --dataset shapes --steps 300."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("train")

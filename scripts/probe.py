"""Linear probes over training: python scripts/probe.py --model resnet18 ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("probe")

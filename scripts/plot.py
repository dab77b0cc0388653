"""Draw: python scripts/plot.py timeline stores/resnet50.zarr --layer layer2 --channel 0 ...."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("plot")

"""Import a jpg/json tree: python scripts/ingest.py feature_images/resnet50."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("ingest")

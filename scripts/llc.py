"""The local learning coefficient: python scripts/llc.py calibrate|estimate|plot ..."""

from dvis.cli import main_of

if __name__ == "__main__":
    main_of("llc")

"""Names of checkpoints, what is known of their places in training, and the order that follows.

Names, plain facts of files and what a user told in; places in training out.
"""

from dvis.names.grammar import parse_checkpoint
from dvis.names.name import UNPLACED, CheckpointName, natural_key, stem_of
from dvis.names.order import training_order
from dvis.names.run import (
    Placed,
    Told,
    is_placed,
    merged,
    place_in_run,
    repeated_steps,
    whole_number,
)
from dvis.names.sources import ESTIMATED, source_words, step_sources
from dvis.names.steps import check_batches, estimate_batches_per_epoch, training_steps
from dvis.names.told import Steps, check_told, chosen, fits, read_told

__all__ = [
    "ESTIMATED",
    "UNPLACED",
    "CheckpointName",
    "Placed",
    "Steps",
    "Told",
    "check_batches",
    "check_told",
    "chosen",
    "estimate_batches_per_epoch",
    "fits",
    "is_placed",
    "merged",
    "natural_key",
    "parse_checkpoint",
    "place_in_run",
    "read_told",
    "repeated_steps",
    "source_words",
    "stem_of",
    "step_sources",
    "training_order",
    "training_steps",
    "whole_number",
]

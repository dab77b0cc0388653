"""Do autoencoders keep their promises: all weights of one that is there are numbers.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from dvis.kinds.saes.chains.words import BIASES, DEPTH, INPUT, ON
from dvis.kinds.saes.words import (
    LOGGED,
    WEIGHTS,
    evaluation_words,
    is_chains,
    is_evaluation,
    is_tracks,
)
from dvis.schema import Status
from dvis.store.faults import Block, Fault, lacks_values, part_faults
from dvis.store.group import Group


def sae_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of autoencoders beyond its schema and labels."""
    says = _said_of_evaluation if is_evaluation(group.attrs) else _said_of
    says = _said_of_tracks if is_tracks(group.attrs) else says
    says = partial(_said_of_chains, group) if is_chains(group.attrs) else says
    yield from part_faults(group, place, progress, says=says)


def _said_of_evaluation(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    asked_for = {name for name, each in evaluation_words().arrays.items() if each.is_optional}
    always = {name: values for name, values in block.values.items() if name not in asked_for}
    yield from lacks_values(evaluation_words().marks[0], replace(block, values=always))


def _said_of_tracks(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    is_complete = block.status == Status.COMPLETE
    is_there = block.values["latent"] >= 0
    for name in ("drift", "frequency"):
        is_whole = (np.isfinite(block.values[name]) | ~is_there).all(-1)
        yield is_complete & ~is_whole, f"is complete, but not all tracks that are there have {name}"


def _said_of_chains(group: Group, block: Block) -> Iterator[tuple[np.ndarray, str]]:
    is_complete = block.status == Status.COMPLETE
    n_depths, n_channels = len(group.rows[DEPTH]), len(group.rows[INPUT])
    n_latents = block.values["n_latents"].reshape(len(is_complete), -1, n_depths).clip(0)
    n_inputs = n_latents[..., :-1] if group.attrs[ON] == "codes" else n_channels
    n_of_levels = n_latents[..., 1:].sum((1, 2))
    n_weights = (n_latents[..., 1:] * n_inputs).sum((1, 2))
    wanted = {
        **dict.fromkeys(("frequency", *BIASES), n_of_levels),
        **dict.fromkeys(("encoder", "decoder"), n_weights),
    }
    for name, n_wanted in wanted.items():
        n_found = np.isfinite(block.values[name]).sum(-1)
        lacks = is_complete & (n_found != n_wanted)
        yield lacks, f"is complete, but not all latents that are there have {name}"


def _said_of(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    is_complete = block.status == Status.COMPLETE
    for name in (*WEIGHTS, "scale"):
        is_whole = np.isfinite(block.values[name]).all(-1)
        yield is_complete & ~is_whole, f"is complete, but not all of its {name} is finite"
    for name in LOGGED:
        log = block.values[name]
        if log.shape[-1]:  # one that came from elsewhere has none
            lacks_log = ~np.isfinite(log).any(-1)
            yield is_complete & lacks_log, f"is complete, but has no {name} of its training"

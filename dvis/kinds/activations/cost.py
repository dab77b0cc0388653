"""What keeping activations would cost: rows, bytes, and the time that a block takes.

A survey in, lines of text out. Nothing is written.
"""

import time
from dataclasses import replace

import numpy as np

from dvis.kinds.activations.layers import KeptLayer
from dvis.kinds.activations.measure import BlockTask
from dvis.kinds.activations.samples import bytes_of_thumbnails
from dvis.kinds.activations.survey import Survey
from dvis.kinds.activations.top import N_BINS
from dvis.kinds.activations.words import VALUES
from dvis.models.data.fixed_images import FixedImages
from dvis.models.option_numbers import bytes_of
from dvis.progress import in_bytes, in_time
from dvis.store.checksums import CRC_BYTES
from dvis.store.datasets import has_dataset

_TIMED_BATCHES = 2


def require_budget(survey: Survey) -> None:
    """Raise where what would be written is more than the budget.

    Raises
    ------
    ValueError
        With both numbers, and what makes it less.
    """
    budget = survey.options.budget
    n_bytes = sum(_bytes_of(survey, layer) for layer in survey.layers)
    if budget is not None and n_bytes > bytes_of(budget):
        raise ValueError(
            f"the activations would be {in_bytes(n_bytes)}, and the budget is "
            f"{in_bytes(bytes_of(budget))}. Ask for fewer tokens (--tokens random:16, or mean), "
            "layers, images (--n-images) or checkpoints (--checkpoints), or for --dtype float16; "
            "--plan tells what each layer takes"
        )


def cost_lines(survey: Survey) -> list[str]:
    """Rows, bytes and time of each layer and in all, by the time of a part of the first block.

    Images are read in that time, as in the first pass over a set; writing is not in it. A layer's
    time is that of a pass up to it alone; in all it is that of one pass for all of them.

    Parameters
    ----------
    survey : Survey
        What is asked for.
    """
    n_samples, n_checkpoints = len(survey.images), len(survey.run.checkpoints)
    every = tuple(range(len(survey.layers)))
    lines = []
    n_rows = n_bytes = 0
    for part, layer in enumerate(survey.layers):
        rows, size = n_samples * layer.n_tokens * n_checkpoints, _bytes_of(survey, layer)
        n_rows, n_bytes = n_rows + rows, n_bytes + size
        took = in_time(_seconds(survey, (part,)))
        lines.append(
            f"{layer.name}: {n_samples:,} samples x {layer.n_tokens:,} tokens x "
            f"{layer.n_channels:,} channels at {n_checkpoints:,} checkpoints: {rows:,} rows, "
            f"{in_bytes(size)}, {took} alone"
        )
    took = in_time(_seconds(survey, every))
    n_files = len(survey.layers) * survey.n_blocks * n_checkpoints
    files = f" in {n_files:,} files" if VALUES in survey.options.keep else ""
    return [
        *lines,
        *_thumbnail_lines(survey),
        f"in all: {n_rows:,} rows, {in_bytes(n_bytes)}{files}, {took} in one process; "
        "nothing was written",
    ]


def _thumbnail_lines(survey: Survey) -> list[str]:
    """What the thumbnails of the set take, where the store is to keep some."""
    size, images = survey.options.thumbnail_size, survey.images.images
    store = survey.store
    if not size or (store.is_dir() and has_dataset(store, survey.set_name)):
        return []
    n_bytes = bytes_of_thumbnails(images, size)
    return [f"thumbnails of {len(images):,} samples, {size} x {size} px: {in_bytes(n_bytes)}"]


def _bytes_of(survey: Survey, layer: KeptLayer) -> int:
    """Bytes of a layer at all checkpoints; the last file of each is as long as the others."""
    options = survey.options
    n_bytes = 0
    if VALUES in options.keep:
        block = survey.block_samples * layer.n_tokens * layer.n_channels
        n_bytes += (block * np.dtype(options.dtype).itemsize + CRC_BYTES) * survey.n_blocks
    if options.n_top:
        of_image = 8 + layer.n_tokens  # its place and value, and its map
        of_bins = 4 * N_BINS * survey.n_blocks
        n_bytes += layer.n_channels * (2 * options.n_top * of_image + of_bins)
    return n_bytes * len(survey.run.checkpoints)


def _seconds(survey: Survey, parts: tuple[int, ...]) -> float:
    """Time of all samples at all checkpoints, by that of a part of the first block."""
    measurement = survey.measurement(writes=False)
    n_timed = min(_TIMED_BATCHES * measurement.batch_size, survey.block_samples, len(survey.images))
    some = survey.images.images.take(np.arange(n_timed))
    measurement = replace(measurement, images=FixedImages.of(some, survey.images.transform))
    model = survey.model.to(survey.options.device)
    task = BlockTask(0, parts)
    measurement.measure(model, task)  # once, for what is found out and kept of a model
    measurement.forget()
    started = time.perf_counter()
    measurement.measure(model, task)
    took = time.perf_counter() - started
    return took / n_timed * len(survey.images) * len(survey.run.checkpoints)

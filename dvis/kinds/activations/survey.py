"""What a call would keep, found out before anything is written.

Options in; checkpoints, images as the model takes them, and layers with their tokens out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dvis.kinds.activations.layers import KeptLayer, kept_layer, named_layers
from dvis.kinds.activations.measure import ActivationMeasurement
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.value_files import Lock, ValueFiles
from dvis.kinds.activations.words import KIND, VALUES, group_name, samples_in_block
from dvis.models.data import load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.devices import find_device
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.models.model_input import ModelInput, find_input
from dvis.models.model_reference import model_name
from dvis.schema import group_path
from dvis.store.contents import contents
from dvis.store.datasets import DATASETS, name_of_set
from dvis.sweep.run_facts import RunFacts, run_of

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a call would measure, found out before anything is written.

    Parameters
    ----------
    options : ActivationOptions
        What is asked for.
    run : RunFacts
        The checkpoints.
    model : nn.Module
        The first that can be loaded.
    model_input : ModelInput
        What it takes.
    images : FixedImages
        The images as it takes them.
    layers : tuple of KeptLayer
        Its layers, and what is kept of each.
    block_samples : int
        Samples of a block.
    """

    options: ActivationOptions
    run: RunFacts
    model: nn.Module
    model_input: ModelInput
    images: FixedImages
    layers: tuple[KeptLayer, ...]
    block_samples: int

    @property
    def store(self) -> Path:
        """The store."""
        return self.options.store_of(model_name(self.options.model))

    @property
    def set_name(self) -> str:
        """What the image set is called in the store."""
        return name_of_set(self.images.images.name, self.images.fingerprint)

    @property
    def loaded(self) -> dict[str, Any]:
        """With what `load_images` gives the set again."""
        options = self.options
        path = None if options.data_path is None else str(options.data_path.expanduser().absolute())
        return {
            "dataset": options.dataset,
            "data_path": path,
            "split": options.split,
            "size": self.model_input.transform.size,
            "n_samples": options.n_images,
            "seed": options.seed,
        }

    @property
    def n_blocks(self) -> int:
        """Blocks of samples at a checkpoint."""
        return -(-len(self.images) // self.block_samples)

    def measurement(self, *, writes: bool) -> ActivationMeasurement:
        """What is measured; whether it may write values into the store itself."""
        options = self.options
        store = self.store.absolute()
        files = tuple(
            ValueFiles(
                store,
                group_path(options.run, KIND, group_name(options.called, layer.name)),
                (self.block_samples, layer.n_tokens, layer.n_channels),
                options.dtype,
            )
            for layer in self.layers
        )
        default = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
        return ActivationMeasurement(
            images=self.images,
            layers=self.layers,
            block_samples=self.block_samples,
            dtype=options.dtype,
            batch_size=options.batch_size or default,
            n_top=options.n_top,
            files=files if VALUES in options.keep else (),
            lock=Lock.of_this_process(store, f"{options.run}/{KIND}") if writes else None,
        )


def surveyed(options: ActivationOptions) -> Survey:
    """Look at checkpoints, images and layers; nothing is written.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `keep_activations` does.
    """
    if options.run == DATASETS:
        raise ValueError(f"the run is called {DATASETS}, where stores keep image sets; rename it")
    assert options.dataset is not None
    find_device(options.device)
    run = run_of(options)
    model, first = run.first_model(options.model)
    facts = run.facts.get(first, {})
    taken = find_input(options, facts, options.model, model, options.image_size)
    images = load_images(
        options.dataset,
        options.data_path,
        split=options.split,
        size=taken.transform.size,
        n_samples=options.n_images,
        seed=options.seed,
    )
    fixed = FixedImages.of(images, taken.transform)
    outputs = _outputs(model, fixed, options)
    names = named_layers(model, outputs, options.layers)
    layers = tuple(
        kept_layer(model, name, outputs[name], options.tokens, options.n_random, options.seed)
        for name in names
    )
    widest = max(layer.n_tokens * layer.n_channels for layer in layers)
    n_bytes = widest * np.dtype(options.dtype).itemsize
    stored = _stored_block(options)
    return Survey(
        options=options,
        run=run,
        model=model,
        model_input=taken,
        images=fixed,
        layers=layers,
        block_samples=stored or samples_in_block(n_bytes, len(fixed)),
    )


def _outputs(
    model: nn.Module, images: FixedImages, options: ActivationOptions
) -> dict[str, LayerOutput]:
    transform = images.transform
    shape = (1, transform.channels, transform.size, transform.size)
    try:
        return trace_layers(model, next(model.parameters()).new_zeros(shape))
    except (RuntimeError, AssertionError) as err:  # torch's, of images that a layer does not fit
        raise ValueError(
            f"{options.model} takes no images of {transform.channels} channels and "
            f"{transform.size} x {transform.size} px: {str(err).splitlines()[0]}. Give another "
            "--input-size or --input-channels"
        ) from err


def _stored_block(options: ActivationOptions) -> int | None:
    """Samples of a block of what the store has under the name, so that layers have the same."""
    store = options.store_of(model_name(options.model))
    if options.overwrite or not (store / "zarr.json").is_file():
        return None
    for entry in contents(store).of(KIND, options.run):
        if entry.name.startswith(group_name(options.called, "")):
            return int(entry.attrs["block_samples"])
    return None

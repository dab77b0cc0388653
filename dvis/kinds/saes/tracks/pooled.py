"""One dictionary for all checkpoints, trained on activations of a store: shared, or a crosscoder.

Autoencoders whose recipe is taken in; tracks, and what else is kept of the dictionary, out.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.likeness import Coder
from dvis.kinds.saes.measure.pooled_tracks import (
    Pooled,
    apart,
    cross_tracks,
    steps_of_shared,
    train_cross,
    train_shared,
)
from dvis.kinds.saes.measure.stored import committed
from dvis.kinds.saes.measure.tracking import tracks_of
from dvis.kinds.saes.options import PassOptions, SaeOptions, steps_of
from dvis.kinds.saes.plan import known_steps
from dvis.kinds.saes.plan_evaluation import weights_told
from dvis.kinds.saes.store_options import TrackOptions, rows_of
from dvis.kinds.saes.tracks.source import Source
from dvis.kinds.saes.tracks.steps import linked, nulls_of
from dvis.kinds.saes.tracks.words import CODE, shared_name
from dvis.kinds.saes.words import KIND, LOG_STEP, POOLED, group_name, sae_words
from dvis.names import parse_checkpoint
from dvis.schema import CHANNEL, CHECKPOINT, SOURCE
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing


@dataclass(frozen=True, kw_only=True)
class PooledPlan:
    """A dictionary for all checkpoints of some autoencoders, of their recipe.

    Attributes
    ----------
    source : Source
        The autoencoders.
    recipe : SaeOptions
        What is trained.
    n_steps, batch_size : int
        Length of the training; rows of a batch, of each checkpoint.
    """

    source: Source
    options: TrackOptions
    recipe: SaeOptions
    n_steps: int
    batch_size: int

    @classmethod
    def of(cls, source: Source, options: TrackOptions) -> "PooledPlan":
        """What options ask for.

        Raises
        ------
        ValueError
            When the store does not say how the autoencoders were trained, or k does not fit.
        """
        own = source.recipe
        if own is None:
            raise ValueError(
                f"the store does not say how {source.name!r} was trained, as of one that was "
                f"imported, so that --method {options.method} has no recipe; name one that dvis "
                "trained"
            )
        width, n_channels = source.trained.sizes[LATENT], source.trained.sizes[CHANNEL]
        if options.expansion is not None:
            width = round(options.expansion * n_channels)
        recipe = replace(own, n_latents=width, k=options.k or own.k)
        recipe.width(n_channels)  # raises where k does not fit
        n_checkpoints, of_batch = len(source.labels), int(source.attrs["batch_size"])
        n_steps = int(source.attrs["n_steps"])
        if options.method == "shared":  # as many rows of each checkpoint
            rows = n_steps * of_batch
            of_batch = max(1, of_batch // n_checkpoints)
            n_steps = steps_of(rows, of_batch)
        if options.tokens is not None:
            n_steps = steps_of(rows_of(options.tokens), of_batch)
        return cls(
            source=source, options=options, recipe=recipe, n_steps=n_steps, batch_size=of_batch
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What all tracks of it must share."""
        return {**asdict(self.recipe), "n_steps": self.n_steps, "batch_size": self.batch_size}

    def found(self, folder: Path, *, progress: bool = False) -> tuple[xr.Dataset, Pooled]:
        """Tracks, and the dictionary that they are of."""
        train = train_shared if self.options.method == "shared" else train_cross
        pooled = train(
            [self.source.rows(each, "train", self.batch_size) for each in self.source.labels],
            self.recipe,
            PassOptions(n_steps=self.n_steps, device=self.options.device, progress=progress),
            with_second=self.options.controls,
            state=folder / "training",
        )
        rows = [self.source.rows(label) for label in self.source.labels]
        if self.options.method == "cross":
            tracks = cross_tracks(pooled, rows)
            return tracks.assign(self._cross_weights(pooled)), pooled
        scaled, (one, *seconds) = pooled.scaled(rows), pooled.autoencoders
        coders = [Coder(autoencoder=one, rows=each) for each in scaled]
        beside = [Coder(autoencoder=seconds[0], rows=each) if seconds else None for each in scaled]
        found = [*linked(coders, "shared", self.options.level, folder, progress=progress)]
        steps = steps_of_shared(found, nulls_of(coders, beside, folder))
        return tracks_of(steps, lambda _place: one.decoder, "shared"), pooled

    def autoencoders(self, pooled: Pooled) -> list[Autoencoder]:
        """The dictionary at each checkpoint, of rows as they are."""
        one, n = pooled.autoencoders[0], len(self.source.labels)
        parts = apart(one, n) if self.options.method == "cross" else [one] * n
        return [units.undone(part) for units, part in zip(pooled.units, parts, strict=True)]

    def _cross_weights(self, pooled: Pooled) -> dict[str, Any]:
        """Weights of a crosscoder by their names in a group."""
        parts = self.autoencoders(pooled)
        dims = {
            "encoder": (CHECKPOINT, CODE, CHANNEL),
            "decoder": (CHECKPOINT, CODE, CHANNEL),
            "decoder_bias": (CHECKPOINT, CHANNEL),
        }
        return {
            **{
                name: (of, np.stack([getattr(e, name) for e in parts])) for name, of in dims.items()
            },
            "encoder_bias": (CODE, parts[0].encoder_bias),
            "code_threshold": (CODE, parts[0].threshold),
        }

    def keep_shared(self, pooled: Pooled, model: str) -> None:
        """Keep a shared autoencoder as one of each checkpoint, in units of its activations.

        Its latents keep their numbers: it can be evaluated, shown and searched as any other.
        """
        source, parts = self.source, self.autoencoders(pooled)
        width, n_channels = parts[0].encoder.shape
        settings = {
            "layer": source.layer,
            POOLED: list(source.labels),
            "activations": source.attrs.get("activations"),
            "dataset": source.attrs.get("dataset"),
            "fingerprint": source.attrs.get("fingerprint"),
            "warm_start": True,
            "made_of": weights_told(pooled.autoencoders[0]),
            **asdict(self.recipe),
        }
        labels = {LATENT: range(width), CHANNEL: range(n_channels), LOG_STEP: ()}
        words = sae_words(n_latents=width, n_channels=n_channels)
        called = group_name(source.layer, shared_name(source.name))
        with writing(source.store, model, source.run, KIND) as path:
            with restructuring(path):
                group = Group.open(path, words, source.run, called, settings, overwrite=True)
                group.grow([parse_checkpoint(label) for label in source.labels], labels)
                group.write_column("step", known_steps(source.trained))
            for label, part, units in zip(source.labels, parts, pooled.units, strict=True):
                group.commit(
                    committed(part, label).assign(
                        {
                            "scale": (CHECKPOINT, np.array([units.scale])),
                            f"{SOURCE}/weights": (CHECKPOINT, source.weights(label)),
                        }
                    )
                )

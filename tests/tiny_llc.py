"""Chains of a tiny network: what is asked, and what the store has of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.read import llc_traces
from dvis.kinds.llc.settings import ChainSettings
from dvis.models.checkpoints import find_checkpoints

SETTINGS = ChainSettings(draws=6, burn_in=4, batch_size=16, n_curvature_iterations=2)
LAYERS = ["0", "1", "6"]  # of the sequence of modules those that have weights


def options_of_chains(run: Path, store: Path) -> EstimateOptions:
    """Two chains at two gammas of two checkpoints of a training run, in this process."""
    files = find_checkpoints(run)
    return EstimateOptions(
        model="tiny_models:convolutional",
        checkpoint_path=tuple(file.path for file in (files[0], files[-1]) if file.path),
        epsilon=(1e-4,),
        gamma=(10.0, 100.0),
        chains=2,
        settings=SETTINGS,
        store=store,
        workers=0,
    )


def changed(options: EstimateOptions, **place: Any) -> EstimateOptions:
    """The same options at another place."""
    return replace(options, **place)


def store_of(options: EstimateOptions) -> Path:
    assert options.store is not None
    return options.store


def loaded(options: EstimateOptions, name: str | None = None) -> xr.Dataset:
    return llc_traces(store_of(options), name=name or options.name).load()

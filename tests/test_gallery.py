"""The gallery chooses what to draw: a latent that has an optimised image, where some have."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dvis.schema import Status

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "gallery.py"
LATENTS, PICTURED = [0, 1, 2, 3], [0, 2]


@pytest.fixture(scope="module")
def gallery() -> Any:
    spec = importlib.util.spec_from_file_location("gallery", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found() -> xr.Dataset:
    """Latents of which the last is the most selective, then the third."""
    of_latent = ("checkpoint", "latent")
    selectivity = np.array([[0.1, 0.2, 0.3, 0.4]])
    return xr.Dataset(
        {
            "selectivity": (of_latent, selectivity),
            "null_selectivity": (("checkpoint", "shuffle", "latent"), np.zeros((1, 2, 4))),
            "frequency": (of_latent, np.full((1, 4), 0.1)),
        },
        {"latent": LATENTS, "checkpoint": ["last"]},
        {"layer": "conv1"},
    )


def images(complete: list[int]) -> xr.Dataset:
    channels = np.arange(6)
    status = np.where(np.isin(channels, complete), Status.COMPLETE, Status.ABSENT)
    return xr.Dataset(
        {"status": (("checkpoint", "layer", "channel"), status[None, None])},
        {"checkpoint": ["last"], "layer": ["conv1"], "channel": channels},
    )


def test_a_latent_with_an_optimised_image_is_drawn(gallery: Any) -> None:
    assert gallery.telling_latent(found()) == 3
    assert gallery.telling_latent(found(), images(PICTURED)) == 2
    assert gallery.telling_latent(found(), images([5])) == 3

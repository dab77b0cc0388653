"""Responses of models that mix the images of a batch: those of each image alone, and it is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_architectures import batch_mixing, seeded

from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.responses.plan import respond
from dvis.kinds.responses.read import responses

pytestmark = pytest.mark.usefixtures("one_thread")


def test_responses_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    facts = {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    weights = seeded(batch_mixing).state_dict()
    for step in (1, 2):
        torch.save({"model_state_dict": weights, "input": facts}, tmp_path / f"step_{step}.pth")
    found = []
    for batch_size in (1, 5):
        options = RespondOptions(
            model="tiny_architectures:batch_mixing",
            checkpoint_path=(tmp_path,),
            layers=("3",),
            dataset="shapes",
            n_images=6,
            batch_size=batch_size,
            store=tmp_path / f"{batch_size}.zarr",
            workers=0,
        )
        report = respond(options)
        assert report.n_failed == 0
        assert len(report.notes) == 1
        assert "one at a time" in report.notes[0]
        found.append(responses(tmp_path / f"{batch_size}.zarr").response.values)
    np.testing.assert_array_equal(*found)

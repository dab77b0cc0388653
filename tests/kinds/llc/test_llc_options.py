"""Options of chains that are out of their range or of another type, and what refuses them says."""

from typing import Any

import pytest
import torch

from dvis.kinds.llc.measure.estimate import estimate
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.settings import ChainSettings


def test_options_out_of_their_range_are_refused() -> None:
    for wrong, text in (
        ({"epsilon": (0.0,)}, "epsilon is 0.0"),
        ({"epsilon": "many"}, "epsilon is 'many'; give numbers above 0, or auto"),
        ({"epsilon": 0.1}, "epsilon is 0.1; give numbers above 0, or auto"),
        ({"epsilon": ("many",)}, "epsilon is 'many'; give a number above 0"),
        ({"gamma": ()}, "gamma names no value"),
        ({"gamma": None}, "gamma is None; give numbers of 0 or more"),
        ({"chains": "many"}, "chains is 'many'; give a whole number of at least 1"),
        ({"workers": 1.5}, "workers is 1.5; give a whole number of at least 0"),
        ({"input_size": "large"}, "input_size is 'large'; give a whole number"),
        ({"chains": 0}, "chains is 0"),
        ({"name": "a/b"}, "without a slash"),
        ({"parameters": ("a",), "per_layer": True}, "not both"),
    ):
        with pytest.raises(ValueError, match=text):
            EstimateOptions(model="resnet18", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"draws": "many"}, "draws is 'many'; give a whole number of at least 1, or auto"),
        ({"draws": None}, "draws is None; give"),
        ({"draws": 2.5}, "draws is 2.5; give a whole number"),
        ({"draws": True}, "draws is True; give a whole number"),
        ({"burn_in": "auto"}, "burn_in is 'auto'; give a whole number of at least 0$"),
        ({"batch_size": [64]}, r"batch_size is \[64\]; give a whole number"),
        ({"nbeta": None}, "nbeta is None; give batch, n, or a number above 0"),
    ],
)
def test_settings_of_another_type_are_refused_with_what_they_may_be(
    wrong: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        ChainSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"chains": "many"}, "chains is 'many'; give a whole number of at least 1"),
        ({"gamma": "strong"}, "gamma is 'strong'; give a number of 0 or more"),
        ({"epsilon": None}, "epsilon is None; give a number above 0"),
    ],
)
def test_estimate_refuses_numbers_that_are_none_before_it_samples(
    wrong: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        estimate(torch.nn.Linear(2, 2), None, **wrong)

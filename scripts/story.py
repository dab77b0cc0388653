"""What the demo shows, held against its own stores: python scripts/story.py demo/stores.

docs/concepts/demo.md tells the claims in these words. Each is computed anew; one that does not
hold ends with 1.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
import xarray as xr
from tyro.conf import Positional

import dvis
from dvis.schema import Status

_LEVEL = 0.05
_CONTROLS = ("value", "random dictionary", "frozen decoder", "frozen encoder", "untrained network")


@dataclass(frozen=True)
class Demo:
    """What `make demo` made, opened."""

    features: xr.Dataset
    responses: xr.Dataset
    digits: xr.Dataset
    llc: xr.Dataset
    latents: xr.Dataset

    @classmethod
    def of(cls, stores: Path) -> "Demo":
        """The stores in a folder."""
        resnet, digits = stores / "resnet18.zarr", stores / "digit_net.zarr"
        return cls(
            dvis.open(resnet).load(),
            dvis.responses(resnet, name="shapes").load(),
            dvis.open(digits).load(),
            dvis.llc(digits).load(),
            dvis.latents(resnet, "layer3").load(),
        )


@dataclass(frozen=True)
class Claim:
    """A sentence of docs/concepts/demo.md, and what says whether it holds, with its figures."""

    text: str
    holds: Callable[[Demo], tuple[bool, str]]


def _births(demo: Demo) -> tuple[bool, str]:
    born = demo.features.dvis.births()
    n_born = int((born.state == "born").sum())
    n_dead = int((demo.features.status == Status.DEAD).sum())
    is_standardised = born.attrs["measure"] == "standardised"
    n_units = int((born.state != "absent").sum())
    figures = f"{n_born} of {n_units} units are born; {n_dead} images are dead"
    return is_standardised and n_born > 0, figures


def _order(born: xr.Dataset) -> tuple[xr.Dataset, str]:
    """The order of births, and its figures in words."""
    order = born.dvis.birth_order()
    low, high = order.correlation_interval.values
    p = order.attrs["why_no_p"] or f"p = {order.p_value.item():.3f}"
    return order, f"correlation {order.correlation.item():.2f} ({low:.2f} to {high:.2f}); {p}"


def _order_of_images(demo: Demo) -> tuple[bool, str]:
    order, figures = _order(demo.features.dvis.births())
    return not order.p_value.item() <= _LEVEL, figures


def _order_of_responses(demo: Demo) -> tuple[bool, str]:
    order, figures = _order(demo.responses.dvis.births())
    return not order.p_value.item() <= _LEVEL, figures


def _floors(demo: Demo) -> tuple[bool, str]:
    last = demo.features.isel(checkpoint=-1)
    is_there = last.status == Status.COMPLETE
    above = (last.activation > last.constant_max).where(is_there).mean().item()
    return above >= 0.9, f"{above:.0%} at the last checkpoint"


def _stages(demo: Demo) -> tuple[bool, str]:
    steps = demo.llc.step.values
    figures, holds = [], True
    for gamma in demo.llc.gamma.values:
        at = demo.llc.sel(gamma=gamma).squeeze(drop=True)
        late = at.isel(checkpoint=slice(-3, None))
        place = int(at.llc.argmin("checkpoint"))
        low, error = at.llc.values[place], at.llc_se.values[place]
        holds &= low + 2 * error < 0 and bool((late.llc > 2 * late.llc_se).all())
        holds &= bool(late.is_settled.all())
        figures.append(
            f"gamma {gamma:g}: {low:.1f} ± {error:.1f} at step {steps[place]:g}, "
            f"{late.llc.values[-1]:.1f} ± {late.llc_se.values[-1]:.1f} at the end"
        )
    return holds, "; ".join(figures)


def _explained(demo: Demo) -> tuple[bool, str]:
    last = demo.latents.isel(checkpoint=-1)
    explained = {name: last.control_ev.sel(control=name).item() for name in _CONTROLS}
    own = explained.pop("value")
    untrained = explained.pop("untrained network")
    figures = ", ".join(f"{name} {value:.2f}" for name, value in explained.items())
    holds = max(explained.values()) < own <= untrained
    return holds, f"{own:.2f}; {figures}; untrained network {untrained:.2f}"


def _recovered(demo: Demo) -> tuple[bool, str]:
    recovered = demo.latents.recovered.values[-1]
    return recovered > 0.9, f"{recovered:.0%} at the last checkpoint"


CLAIMS = (
    Claim(
        "Births are read off activations in standard deviations of the run's own images",
        _births,
    ),
    Claim("Most feature images of the trained network beat black, grey and white ones", _floors),
    Claim("Births of feature images show no order of the six layers", _order_of_images),
    Claim("Births of responses to 200 images show no order of the six layers", _order_of_responses),
    Claim(
        "The small network's LLC is below 0 while its loss falls fastest, and above 0 and settled "
        "at its last three checkpoints, at both localisations",
        _stages,
    ),
    Claim(
        "An autoencoder of layer3 explains more variance than a random dictionary and frozen "
        "weights, but no more than one of the untrained network",
        _explained,
    ),
    Claim("Its reconstructions keep most of what the layer does for the loss", _recovered),
)


def told(demo: Demo) -> Iterator[tuple[Claim, bool, str]]:
    """Each claim, whether it holds, and its figures."""
    for claim in CLAIMS:
        yield claim, *claim.holds(demo)


def story(stores: Positional[Path]) -> None:
    """Print each claim with its figures.

    Parameters
    ----------
    stores
        The folder of the demo's stores.
    """
    all_hold = True
    for claim, holds, figures in told(Demo.of(stores)):
        print(f"{'' if holds else 'NOT SO: '}{claim.text}: {figures}.")
        all_hold &= holds
    sys.exit(0 if all_hold else 1)


if __name__ == "__main__":
    tyro.cli(story)

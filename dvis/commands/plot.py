"""The command `plot`."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import xarray as xr
from tyro.conf import Positional

from dvis import plots
from dvis.kinds.features import pictures as feature_pictures
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.kinds.features.tree.print_command import print_import
from dvis.kinds.responses import pictures as response_pictures
from dvis.kinds.responses.read import responses as open_responses
from dvis.opening import contents
from dvis.opening import open as open_store
from dvis.schema import CHANNEL, LAYER, did_you_mean, neuron_objective

PlotKind = Literal[
    "trajectory", "layers", "timeline", "development", "grid", "heatmap", "births", "cross-response"
]


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What to draw, of which store, and how.

    Parameters
    ----------
    kind
        What to draw: curves of units, or of each layer; a unit's images, alone or below its curve;
        a layer's images at one checkpoint; a heat map of units sorted by birth; births by layer;
        or how a unit's images of all checkpoints drive it at all checkpoints.
    source
        A store's folder or URL, or a model's jpg/json folder, which is imported first.
    out
        File for the picture; its ending (.png, .pdf, .svg) tells the format.
    layer
        Layer; several where many units are drawn.
    channel
        Channel; several where many units are drawn.
    run
        Training run (default: the store's).
    variant
        Variant of the feature images, such as average-0 (default: the run's).
    neuron
        Row and column, "3,4": feature images of that neuron in place of the channel's.
    responses
        Name of the cross responses, where there are several.
    checkpoint
        Checkpoint of a grid (default: the last).
    variable
        What is drawn over training, such as val_loss (default: activation, or response).
    x
        What a picture over training runs over.
    xscale
        Linear or logarithmic steps or epochs.
    yscale
        Linear or logarithmic values of curves.
    max_images
        How many images to show at most.
    """

    kind: Positional[PlotKind]
    source: Positional[str]
    out: Path
    layer: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...")] = ()
    channel: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = ()
    run: str | None = None
    variant: str | None = None
    neuron: str | None = None
    responses: str | None = None
    checkpoint: str | None = None
    variable: str | None = None
    x: plots.XAxis = "checkpoint"
    xscale: plots.Scale = "auto"
    yscale: plots.Scale = "auto"
    max_images: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Options that are not as they are by default, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A kind of picture.

    Parameters
    ----------
    draw
        What draws it, of a Dataset.
    options
        The options that it has beside those of every kind.
    opens
        The options that say what of the store it is of.
    one
        Those of layer and channel of which it takes one alone.
    """

    draw: Callable[..., Any]
    options: tuple[str, ...]
    opens: tuple[str, ...] = ("variant", "neuron")
    one: tuple[str, ...] = ()


def _draw_grid(dataset: xr.Dataset, *, channel: tuple[int, ...] | None, **options: Any) -> None:
    feature_pictures.grid(dataset, channels=channel, **options)


_OF_ALL = ("kind", "source", "out", "run", "layer", "channel")
_UNIT = (LAYER, CHANNEL)
_OVER_TRAINING = ("variable", "x", "xscale")
PICTURES: dict[PlotKind, Picture] = {
    "trajectory": Picture(draw=plots.trajectory, options=(*_OVER_TRAINING, "yscale")),
    "layers": Picture(draw=plots.trajectories_by_layer, options=(*_OVER_TRAINING, "yscale")),
    "timeline": Picture(draw=feature_pictures.timeline, options=("max_images",), one=_UNIT),
    "development": Picture(
        draw=feature_pictures.development,
        options=(*_OVER_TRAINING, "yscale", "max_images"),
        one=_UNIT,
    ),
    "grid": Picture(draw=_draw_grid, options=("checkpoint", "max_images"), one=("layer",)),
    "heatmap": Picture(draw=plots.heatmap, options=_OVER_TRAINING),
    "births": Picture(draw=plots.births_by_layer, options=_OVER_TRAINING),
    "cross-response": Picture(
        draw=response_pictures.cross_response,
        options=_OVER_TRAINING,
        opens=("responses",),
        one=_UNIT,
    ),
}


def plot(options: Annotated[PlotOptions, tyro.conf.arg(name="")]) -> int:
    """Draw a picture of a store, or of a jpg/json tree.

    Parameters
    ----------
    options
        What to draw, of which store, and how.
    """
    import matplotlib

    matplotlib.use("agg")
    picture = PICTURES[options.kind]
    _refuse_strays(options, picture)
    chosen = {name: value for name, value in options.given.items() if name in picture.options}
    for name in _UNIT:
        values = getattr(options, name) or None
        chosen[name] = _one(name, values) if name in picture.one else values
    picture.draw(_opened(options), path=options.out, **chosen)
    print(options.out)
    return 0


def _refuse_strays(options: PlotOptions, picture: Picture) -> None:
    """Raise where options are given that a kind of picture does not have."""
    known = {*_OF_ALL, *picture.opens, *picture.options}
    strays = [f"--{name.replace('_', '-')}" for name in options.given if name not in known]
    if strays:
        pronoun = "it" if len(strays) == 1 else "them"
        raise ValueError(f"{options.kind} takes no {' and no '.join(strays)}; leave {pronoun} out")


def _one(name: str, given: tuple[Any, ...] | None) -> Any:
    if given is not None and len(given) > 1:
        raise ValueError(f"give one {name}, not {len(given)}")
    return given[0] if given else None


def _opened(options: PlotOptions) -> xr.Dataset:
    """The Dataset that a picture is of."""
    store = _store_of(options.source)
    if options.kind == "cross-response":
        return open_responses(store, options.run, options.responses)
    run, variant = options.run, options.variant
    if options.neuron is not None:
        run, variant = _neuron_variant(store, options.neuron, run, variant)
    return open_store(store, run, variant)


def _store_of(source: str) -> str | Path:
    """The store at a path or URL; a jpg/json tree is imported first."""
    path = Path(source).expanduser()
    if "://" in source or not path.is_dir() or (path / "zarr.json").is_file():
        return source
    reports = ingest_tree(path, progress=True)
    if len(reports) > 1:
        models = ", ".join(report.model for report in reports)
        raise ValueError(f"{source} holds several models ({models}); give the folder of one")
    print_import(reports[0])
    return reports[0].store


def _neuron_variant(
    store: str | Path, neuron: str, run: str | None, variant: str | None
) -> tuple[str, str]:
    """Run and variant that hold the feature images of a neuron."""
    try:
        row, column = (int(part) for part in neuron.split(","))
    except ValueError:
        raise ValueError(f"neuron is {neuron!r}; give a row and a column, such as 3,4") from None
    if variant is not None:
        raise ValueError("give a neuron or a variant, not both")
    found = contents(store)
    name = f"{neuron_objective(row, column)}-0"
    runs = [run] if run is not None else [found.choose(None, None).run, *found.runs]
    for each in runs:
        if each in found.runs and name in found.variants(each):
            return each, name
    there = [v for each in found.runs for v in found.variants(each) if v.startswith("neuron_")]
    if not there:
        raise ValueError(
            f"{store} has no feature images of neurons; make some with `dvis visualize --neurons "
            f"{neuron}`, or leave --neuron out for those of channels"
        )
    raise ValueError(did_you_mean("variant", name, list(dict.fromkeys(there)), str(store)))

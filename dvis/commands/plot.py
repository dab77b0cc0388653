"""The command `plot`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
import xarray as xr
from tyro.conf import Positional

from dvis import plots
from dvis.kinds.kind import Kind
from dvis.kinds.picture import UNIT, Picture
from dvis.kinds.registry import KINDS, OF_UNITS
from dvis.models.option_numbers import bounded
from dvis.opening import open as open_store
from dvis.schema import did_you_mean
from dvis.store.contents import contents


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What to draw, of which store, and how.

    Parameters
    ----------
    kind
        What to draw: trajectory, curves of units; layers, curves of each layer; timeline, a unit's
        images; development, those below its curve; grid, a layer's images at one checkpoint;
        heatmap, of units sorted by birth; births, by layer; cross-response, how a unit's images of
        all checkpoints drive it at all checkpoints; selectivity, which classes drive channels, of
        responses to labelled images, and latent-selectivity, which drive latents; map and
        latent-map, where they lie among each other at each checkpoint; top-images, those of an
        image set that drive channels most, and top-image-timeline, a channel's over training; of
        sparse autoencoders sae-frontier, what they explain by how few latents, sae-training, their
        logs, latent-frequencies, how often latents fire, latent-sheet, all of one latent,
        sae-tracks, latents over checkpoints, track-film, the images of one, chain, numbers of
        autoencoders on autoencoders over depth, and chain-tree, what a latent of one is made of; of
        influence
        circuit-film, a unit's strongest inputs over training, circuit, what a unit is built of,
        edge-heatmap, when its inputs come up (by influence; of shares of --method edges there is
        none), influence-matrix, of a layer on another, and
        event-alignment, inputs around births; chimera, how networks answer whose lower or upper
        layers are early; accuracy-over-training and accuracy-by-layer, what linear probes read off
        layers; attributes, what layers tell of drawn pairs that differ in one attribute and what
        the output uses of it, attribute-units, which units tell them, and attribute-pairs, the
        pairs.
    source
        A store's folder or URL, or a model's jpg/json folder, which is imported first.
    out
        File for the picture; its ending (.png, .pdf, .svg) tells the format (default:
        KIND.png in the current folder).
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
    name
        Name of what is drawn in the store, where there are several: of cross responses, of
        activations, of influence, of autoencoders (default of a frontier and of training: all of
        the layer).
    latent
        Latent of an autoencoder.
    color
        What units of a map are coloured by: class, or birth (default: the class where one is
        known).
    score
        By which score of its tokens a latent's images are sorted, such as max.
    target
        What probes read off, or attributes of pairs (default: all).
    checkpoint
        Checkpoint of a grid, of top images, of autoencoders, of a circuit, of probes, or of
        attributes (default: the last, or several).
    layer_from
        Layer whose influence is drawn (default: the nearest before).
    k
        How many inputs of a unit, or parents of a latent, are drawn, the strongest.
    depth
        How many layers back a circuit goes; at which level of a chain a latent is.
    variable
        What is drawn over training, such as val_loss (default: activation, or response).
    x
        What a picture over training runs over.
    xscale
        Linear or logarithmic steps or epochs.
    yscale
        Linear or logarithmic values of curves.
    above
        What dates of attributes are to be above: shuffled, first or untrained (default: shuffled).
    max_images
        How many images to show at most.
    method
        By which method latents were tracked, where there are several: warm, match, shared, cross.
    track
        Track of latents (default: the one of most checkpoints that fires most).
    max_tracks
        How many tracks are shown by themselves at most.
    on
        On what chains were trained, where there are both: decoder or codes.
    read_with
        Activations of whose images the numbers of a chain are (default: its own).
    seed
        Which chain of several seeds (default: the first).
    """

    kind: Positional[str]
    source: Positional[str]
    out: Path | None = None
    layer: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...")] = ()
    channel: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = ()
    run: str | None = None
    variant: str | None = None
    neuron: str | None = None
    name: Annotated[str | None, tyro.conf.arg(aliases=["--responses"])] = None
    latent: int | None = None
    color: str | None = None
    score: str | None = None
    target: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET ...")] = ()
    checkpoint: str | None = None
    layer_from: str | None = None
    k: int | None = None
    depth: int | None = None
    variable: str | None = None
    x: plots.XAxis = "checkpoint"
    xscale: plots.Scale = "auto"
    yscale: plots.Scale = "auto"
    above: str | None = None
    max_images: int | None = None
    method: str | None = None
    track: int | None = None
    max_tracks: int | None = None
    on: str | None = None
    read_with: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        bounded(self)

    @property
    def given(self) -> dict[str, Any]:
        """Options that are not as they are by default, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}


_OF_ALL = ("kind", "source", "out", "run", "layer", "channel")


def pictures() -> dict[str, tuple[Kind, Picture]]:
    """The pictures of every kind of measurement, by their names."""
    return {
        name: (kind, picture) for kind in KINDS.values() for name, picture in kind.pictures.items()
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
    known = pictures()
    if options.kind not in known:
        raise ValueError(did_you_mean("picture", options.kind, known, "dvis plot"))
    kind, picture = known[options.kind]
    _refuse_strays(options, picture)
    chosen = {name: value for name, value in options.given.items() if name in picture.options}
    for name in UNIT:
        values = getattr(options, name) or None
        chosen[name] = _one(name, values) if name in picture.one else values
    dataset = _opened(options, kind, picture)
    if picture.beside is not None:
        chosen["unit_images"] = _unit_images(options, picture.beside(dataset), dataset)
    out = Path(f"{options.kind}.png") if options.out is None else options.out
    picture.draw(dataset, path=out, **chosen)
    print(out)
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


def _unit_images(
    options: PlotOptions, variant: str | None, dataset: xr.Dataset
) -> xr.Dataset | None:
    """Optimised images to be shown beside: those asked for, else a variant if the store has it."""
    run = str(dataset.attrs["run"])
    there = contents(options.source).names(OF_UNITS, run)
    if options.variant is None and (not there or variant not in (None, *there)):
        return None
    return open_store(options.source, run, options.variant or variant)


def _opened(options: PlotOptions, kind: Kind, picture: Picture) -> xr.Dataset:
    """The Dataset that a picture is of; of a tree that is no store yet, that is made first."""
    path = Path(options.source).expanduser()
    store: str | Path = options.source
    is_tree = "://" not in options.source and path.is_dir() and not (path / "zarr.json").is_file()
    for each in KINDS.values() if is_tree else ():
        if each.imported is not None:
            store = each.imported(path)
    run, name = options.run, options.variant or options.name
    if picture.chosen is not None:
        run, name = picture.chosen(contents(store), options)
    return open_store(store, run, kind=kind.name, name=name)

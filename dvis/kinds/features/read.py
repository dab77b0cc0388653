"""Feature images in a store: which run and variant is meant where none is named."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from dvis.kinds.features.words import DEFAULT_VARIANT, KIND, Variant
from dvis.schema import did_you_mean
from dvis.store.contents import Contents, Entry, StoreLike, contents
from dvis.store.portable import nested
from dvis.store.reader import Reader


def default_variant(entries: Sequence[Entry], run_attrs: Mapping[str, Any]) -> Entry:
    """The run's default variant, or the first where its import has not ended."""
    by_name = {entry.name: entry for entry in entries}
    usual = Variant.usual([*by_name])
    for name in (run_attrs.get("default_variant"), DEFAULT_VARIANT):
        if name in usual:
            return by_name[name]
    return by_name[usual[0]]


FEATURE_READER = Reader(
    kind=KIND,
    noun="feature images",
    made_by="dvis visualize` or `dvis ingest",
    called="variant",
    default=default_variant,
)


def parameters_of(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """The parameters that units were made with, into which their variable `params` points."""
    tables = nested(dataset.attrs.get("parameters", []))
    return [tables] if isinstance(tables, dict) else tables  # a netCDF list of one is no list


def codec_of(found: Contents) -> str | None:
    """How a store keeps imported images, None where it has none."""
    entries = found.of(KIND)
    return str(entries[0].attrs.get("image_codec")) if entries else None


def flat_checkpoints(found: Contents, run: str) -> list[str]:
    """Checkpoints of a run that lay in the model's folder itself."""
    return list(found.run_attrs.get(run, {}).get("flat_checkpoints", []))


def runs(path_or_url: StoreLike, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Training runs of a store that hold feature images.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    """
    return contents(path_or_url, storage_options=storage_options).runs(KIND)


def variants(
    path_or_url: StoreLike,
    run: str | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
) -> list[str]:
    """Variants of a run of a store; of the default run unless another is named.

    Raises
    ------
    FileNotFoundError, KeyError, SchemaError, ImportError
        As `dvis.open` does.
    """
    found = contents(path_or_url, storage_options=storage_options)
    return found.names(KIND, FEATURE_READER.choose(found, run, None).run)


def choose_variant(found: Contents, options: Any) -> tuple[str | None, str | None]:
    """Run and variant that a picture is of: those asked for, or of a neuron's images.

    Raises
    ------
    ValueError
        When there are no images of that neuron, or a variant is asked for besides.
    """
    run, neuron = options.run, options.neuron
    if neuron is None:
        return run, options.variant
    try:
        row, column = (int(part) for part in neuron.split(","))
    except ValueError:
        raise ValueError(f"neuron is {neuron!r}; give a row and a column, such as 3,4") from None
    if options.variant is not None:
        raise ValueError("give a neuron or a variant, not both")
    name = f"neuron_{row}_{column}-0"
    there = found.runs(KIND)
    default = FEATURE_READER.choose(found, None, None).run
    runs = [run] if run is not None else [default, *there]
    for each in runs:
        if name in found.names(KIND, each):
            return each, name
    neurons = [v for v in found.names(KIND) if v.startswith("neuron_")]
    if not neurons:
        raise ValueError(
            f"{found.name} has no feature images of neurons; make some with `dvis visualize "
            f"--neurons {neuron}`, or leave --neuron out for those of channels"
        )
    raise ValueError(did_you_mean("variant", name, neurons, found.name))

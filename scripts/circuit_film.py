"""Film of the circuit behind a unit that grows: python scripts/circuit_film.py STORE --model M ...

The unit is the one of the last layer with influence that grows most among those with images. Those
of its strongest inputs that have no feature images are given some first.
"""

from pathlib import Path

import matplotlib
import tyro
import xarray as xr
from tyro.conf import Positional

import dvis
from dvis import measure
from dvis.kinds.influence import pictures
from dvis.schema import Status


def circuit_film(
    store: Positional[Path],
    *,
    model: str,
    checkpoint_path: Path,
    responses: str,
    k: int = 4,
    max_iterations: int | None = None,
    out: Path = Path("gallery"),
) -> None:
    """Draw the film, and the layered graph, of the unit of the last layer that grows most.

    Parameters
    ----------
    store
        A store's folder, with influence, responses and feature images.
    model, checkpoint_path
        The model and its checkpoints, as `dvis visualize` takes them.
    responses
        Responses of which births are taken.
    k
        Strongest inputs that are shown.
    max_iterations
        As the feature images of the store have it.
    out
        Folder for the pictures.
    """
    matplotlib.use("agg")
    influence = dvis.influence(store)
    layer = str(influence.layer_to.values[-1])
    channel = growing_most(dvis.open(store), layer)
    inputs = influence.dvis.top_inputs(layer, channel, k=k)
    settings = {} if max_iterations is None else {"max_iterations": max_iterations}
    for source in dict.fromkeys(inputs.layer_from.values.tolist()):
        chosen = inputs.channel_from.values[inputs.layer_from.values == source]
        measure.features(
            model,
            checkpoint_path,
            layers=[source],
            channels=sorted(map(int, chosen)),
            store=store,
            progress=True,
            **settings,
        )
    images = dvis.open(store)
    births = dvis.responses(store, name=responses).dvis.births(measure="correlation").load()
    for name, draw, given in (
        ("circuit_film", pictures.circuit_film, {"births": births}),
        ("circuit", pictures.circuit_graph, {}),
    ):
        path = out / f"{name}_{layer}_{channel}.png"
        draw(influence, layer, channel, k=k, unit_images=images, path=path, **given)
        print(path)


def growing_most(features: xr.Dataset, layer: str) -> int:
    """The channel of a layer whose images' activation grows most in spreads of its references."""
    of_layer = features.sel(layer=layer).load()
    level = of_layer.activation.where(of_layer.status == Status.COMPLETE)
    if "reference_sd" in of_layer:
        level = (level - of_layer.reference_mean) / of_layer.reference_sd
    growth = level.isel(checkpoint=-1) - level.min("checkpoint")
    return int(growth.channel[int(growth.fillna(-1).argmax("channel"))])


if __name__ == "__main__":
    tyro.cli(circuit_film)

"""All pictures of a store, in a folder: python scripts/gallery.py demo/stores/resnet18.zarr."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import tyro
import xarray as xr
from tyro.conf import Positional

import dvis
from dvis import plots
from dvis.analysis.births import births as find_births
from dvis.analysis.telling import telling_units
from dvis.kinds.activations import pictures as activation_pictures
from dvis.kinds.activations.read import name_of as name_of_activations
from dvis.kinds.attributes import pictures as attribute_pictures
from dvis.kinds.chimera import pictures as chimera_pictures
from dvis.kinds.features import pictures as feature_pictures
from dvis.kinds.influence import pictures as influence_pictures
from dvis.kinds.llc import pictures as llc_pictures
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.words import CALIBRATION
from dvis.kinds.probes import pictures as probe_pictures
from dvis.kinds.responses import pictures as response_pictures
from dvis.kinds.responses.maps import channel_colors
from dvis.kinds.responses.read import response_names, responses
from dvis.kinds.saes import pictures as sae_pictures
from dvis.kinds.saes.chains.words import ON, READ_WITH
from dvis.kinds.saes.maps import latent_colors
from dvis.kinds.saes.read import name_of as name_of_saes
from dvis.kinds.saes.telling import telling_latent
from dvis.kinds.saes.words import is_chains, is_evaluation, is_tracks, pictured_as


def gallery(
    store: Positional[Path],
    *,
    out: Path = Path("gallery"),
    run: str | None = None,
    variant: str | None = None,
    x: plots.XAxis = "step",
    suffix: str = "png",
) -> None:
    """Draw every kind of picture that a store has the numbers for.

    Parameters
    ----------
    store
        A store's folder.
    out
        Folder for the pictures.
    run
        Training run (default: the store's).
    variant
        Variant (default: the run's).
    x
        What the pictures run over.
    suffix
        Format of the pictures: png, pdf or svg.
    """
    matplotlib.use("agg")
    dataset = dvis.open(store, run, variant)
    births = find_births(dataset).load()

    def path(name: str) -> Path:
        print(out / f"{name}.{suffix}")
        return out / f"{name}.{suffix}"

    plots.trajectory(dataset, x=x, path=path("trajectory"))
    plots.trajectories_by_layer(dataset, x=x, path=path("trajectories_by_layer"))
    plots.heatmap(dataset, x=x, births=births, path=path("heatmap"))
    plots.births_by_layer(dataset, x=x, births=births, path=path("births_by_layer"))
    for layer, channel in telling_units(dataset, births).items():
        name = f"{layer}_{channel}".replace("/", "_")
        development = path(f"development_{name}")
        feature_pictures.development(dataset, layer, channel, x=x, births=births, path=development)
        feature_pictures.timeline(dataset, layer, channel, path=path(f"timeline_{name}"))
        feature_pictures.grid(dataset, layer=layer, path=path(f"grid_{layer}".replace("/", "_")))
    if "val_loss" in dataset:
        plots.trajectory(dataset, x=x, variable="val_loss", path=path("val_loss"))
    for name in dvis.llc_names(store, run):
        draw_llc(dvis.llc_traces(store, run, name), x, path, name.replace("/", "_"))
    if "llc" in dataset:
        llc_pictures.llc_and_births(dataset, x=x, births=births, path=path("llc_and_births"))
    for name in response_names(store, run):
        crossed = responses(store, run, name)
        if "image_checkpoint" in crossed.dims:
            draw_crossed(crossed, x, path(f"cross_response_{name}".replace("/", "_")))
        else:
            drawn = path(f"births_of_responses_{name}".replace("/", "_"))
            plots.births_by_layer(crossed, x=x, births=find_births(crossed).load(), path=drawn)
        if "image" in crossed.dims:
            draw_channels(crossed, path, name.replace("/", "_"))
    draw_top_images(store, dataset, path)
    draw_saes(store, dataset.attrs["run"], path)
    draw_circuits(store, dataset.attrs["run"], x, path)
    draw_probes(store, dataset.attrs["run"], x, path)
    draw_attributes(store, dataset.attrs["run"], x, path)


def draw_channels(responses_to_images: xr.Dataset, path: Callable[[str], Path], name: str) -> None:
    """Draw a map of the last layer's channels, and which classes drive them where some do."""
    layer = str(responses_to_images.layer.values[-1])
    of_layer = responses_to_images.sel(layer=[layer])
    drawn, colors = f"{layer}_{name}".replace("/", "_"), channel_colors(of_layer, None)
    plots.unit_scatter(
        dvis.channel_map(of_layer),
        cosines=dvis.channel_cosines(of_layer),
        color=colors,
        path=path(f"channel_map_{drawn}"),
    )
    if colors is not None:
        plots.selectivity_map(dvis.selectivity(of_layer), path=path(f"selectivity_{drawn}"))


def draw_top_images(store: Path, dataset: xr.Dataset, path: Callable[[str], Path]) -> None:
    """Draw the top images of each layer that keeps some, and those of one channel over training."""
    for entry in dvis.contents(store).of("activations", dataset.attrs["run"]):
        layer, name = str(entry.attrs["layer"]), name_of_activations(entry)
        top = dvis.activations(store, layer, name, entry.run, allow_partial=True)
        if "top_sample" not in top:
            continue
        drawn = f"{layer}_{name}".replace("/", "_")
        activation_pictures.top_images(top, path=path(f"top_images_{drawn}"))
        channel = int(top["mean"].isel(checkpoint=-1).argmax("channel"))
        over_training = path(f"top_image_timeline_{drawn}_{channel}")
        activation_pictures.top_image_timeline(
            top, channel, unit_images=dataset, path=over_training
        )


def draw_saes(store: Path, run: str, path: Callable[[str], Path]) -> None:
    """Draw each layer's autoencoders against one another, and each one's most selective latent."""
    trained: dict[str, dict[str, xr.Dataset]] = {}
    evaluated: dict[str, dict[str, xr.Dataset]] = {}
    for entry in dvis.contents(store).of("saes", run):
        if is_tracks(entry.attrs) or is_chains(entry.attrs):
            continue
        layer, name = str(entry.attrs["layer"]), name_of_saes(entry)
        is_found = is_evaluation(entry.attrs)
        opened = (dvis.latents if is_found else dvis.saes)(store, layer, name, run)
        (evaluated if is_found else trained).setdefault(layer, {})[name] = opened
    for layer, several in trained.items():
        drawn = path(f"sae_training_{layer}".replace("/", "_"))
        sae_pictures.sae_training(several, path=drawn)
    for layer, several in evaluated.items():
        drawn = path(f"sae_frontier_{layer}".replace("/", "_"))
        sae_pictures.sae_frontier(several, path=drawn)
        for name, found in several.items():
            called = f"{layer}_{name}".replace("/", "_")
            frequencies = path(f"latent_frequencies_{called}")
            sae_pictures.latent_frequencies(found, path=frequencies)
            images = images_of_latents(store, run, layer, name)
            latent = telling_latent(found, images)
            sheet = path(f"latent_sheet_{called}_{latent}")
            sae_pictures.latent_sheet(found, latent, unit_images=images, path=sheet)
            draw_latents(store, trained[layer][name], found, path, called)
    draw_chains(store, run, path)


def draw_latents(
    store: Path, trained: xr.Dataset, found: xr.Dataset, path: Callable[[str], Path], called: str
) -> None:
    """Draw a map of latents and, where samples have classes, which drive them, and rules."""
    plots.unit_scatter(
        dvis.latent_map(trained),
        cosines=dvis.latent_cosines(trained),
        color=latent_colors(trained, None),
        path=path(f"latent_map_{called}"),
    )
    if not found.sizes["class"]:
        return
    plots.selectivity_map(dvis.latent_selectivity(found), path=path(f"latent_selectivity_{called}"))
    layer, name, run = (str(found.attrs[key]) for key in ("layer", "evaluated", "run"))
    try:
        explained = dvis.explain_latents(store, layer, name, run)
    except ValueError as err:  # few samples, or such that no classifier can be held out on
        print(f"no rules of {called}: {err}")
        return
    sae_pictures.latent_rules(found, explained, path=path(f"latent_rules_{called}"))


def draw_chains(store: Path, run: str, path: Callable[[str], Path]) -> None:
    """Draw numbers of chains over depth, and what the most selective latent is made of."""
    for entry in dvis.contents(store).of("saes", run):
        if not is_chains(entry.attrs):
            continue
        layer, name, on = str(entry.attrs["layer"]), name_of_saes(entry), entry.attrs[ON]
        other = str(entry.attrs[READ_WITH])
        chains = dvis.chains(store, layer, name, run, on=on, read_with=other or None)
        called = "_".join(filter(None, (layer, name, on, other))).replace("/", "_")
        sae_pictures.chain_curves(chains, path=path(f"chain_{called}"))
        if (chains.n_latents.sel(depth=slice(1, None)) > 0).isel(checkpoint=-1, seed=0).any():
            sae_pictures.chain_tree(chains, path=path(f"chain_tree_{called}"))


def images_of_latents(store: Path, run: str, layer: str, name: str) -> xr.Dataset | None:
    """Optimised images of an autoencoder's latents, None where the store has none of the layer."""
    variant = pictured_as(name)
    if variant not in {entry.name for entry in dvis.contents(store).of("features", run)}:
        return None
    images = dvis.open(store, run, variant)
    return images if layer in images.layer.values else None


def draw_circuits(store: Path, run: str, x: plots.XAxis, path: Callable[[str], Path]) -> None:
    """Draw influence onto the last layer, a matrix for some checkpoints each, and chimeras."""
    for entry in dvis.contents(store).of("influence", run):
        influence = dvis.influence(store, run, entry.name)
        last = str(influence.layer_to.values[-1])
        drawn = f"{last}_{entry.name}".replace("/", "_")
        influence_pictures.influence_matrix(influence, last, path=path(f"influence_{drawn}"))
    for entry in dvis.contents(store).of("chimera", run):
        chimeras = dvis.chimera(store, run, entry.name)
        chimera_pictures.chimera_curves(chimeras, x=x, path=path(f"chimera_{entry.name}"))


def draw_probes(store: Path, run: str, x: plots.XAxis, path: Callable[[str], Path]) -> None:
    """Draw what layers tell, over training and by depth."""
    for entry in dvis.contents(store).of("probes", run):
        found = dvis.probes(store, run, entry.name)
        drawn = path(f"accuracy_over_training_{entry.name}")
        probe_pictures.accuracy_over_training(found, x=x, path=drawn)
        probe_pictures.accuracy_by_layer(found, path=path(f"accuracy_by_layer_{entry.name}"))


def draw_attributes(store: Path, run: str, x: plots.XAxis, path: Callable[[str], Path]) -> None:
    """Draw what layers tell of attributes over training, the units that do, and the pairs."""
    for entry in dvis.contents(store).of("attributes", run):
        found = dvis.attributes(store, run, entry.name)
        drawn = path(f"attributes_{entry.name}")
        attribute_pictures.attributes_over_training(found, x=x, path=drawn)
        attribute_pictures.attribute_units(found, path=path(f"attribute_units_{entry.name}"))
        attribute_pictures.attribute_pairs(found, path=path(f"attribute_pairs_{entry.name}"))


def draw_llc(traces: xr.Dataset, x: plots.XAxis, path: Callable[[str], Path], name: str) -> None:
    """Draw an estimate over training, and the chains of its last checkpoint; or a calibration."""
    if traces.attrs["kind_of_run"] == CALIBRATION:
        for parameters in traces.parameters.values:
            cells = traces.sel(parameters=parameters).squeeze("checkpoint")
            llc_pictures.llc_calibration(cells, path=path(f"{name}_{parameters}".replace("/", "_")))
        return
    found = llc_of(traces).load()
    llc_pictures.llc_over_training(found, x=x, path=path(f"{name}_over_training"))
    if found.sizes["parameters"] > 1:
        llc_pictures.llc_by_parameters(found, x=x, path=path(f"{name}_by_parameters"))
    last = traces.isel(checkpoint=-1, parameters=0, epsilon=-1)
    for gamma in last.gamma.values:
        llc_pictures.llc_chains(last.sel(gamma=gamma), path=path(f"{name}_chains_gamma_{gamma:g}"))


def draw_crossed(crossed: xr.Dataset, x: plots.XAxis, path: Path) -> None:
    """Draw the cross response of the unit that has most of it, in the last layer of several."""
    known = crossed.response.notnull().sum(["checkpoint", "image_checkpoint"])
    known = known.isel(layer=slice(None, None, -1))
    unit = known.argmax(...)
    layer, channel = (known[dim][unit[dim]].item() for dim in ("layer", "channel"))
    response_pictures.cross_response(crossed, layer, channel, x=x, path=path)


if __name__ == "__main__":
    tyro.cli(gallery)

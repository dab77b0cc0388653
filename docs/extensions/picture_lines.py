"""Which pictures the gallery shows: the command, where there is one, and the line of Python."""

from typing import NamedTuple

STORE = "stores/resnet18.zarr"
PREPARED = """
import dvis
from dvis import plots
from dvis.kinds.saes import pictures as sae_pictures

store = "stores/resnet18.zarr"
ds = dvis.open(store)
answers = dvis.responses(store, name="shapes-val")
crossed = dvis.responses(store, name="features-all")
top = dvis.activations(store, "layer4", name="shapes-top")
sae = dvis.saes(store, "layer3", "wide")
found = dvis.latents(store, "layer3", "wide")
tracks = dvis.tracks(store, "layer3", "wide")
chains = dvis.chains(store, "layer3", "wide", on="decoder")
influence = dvis.influence(store)
probes = dvis.probes(store)
attributes = dvis.attributes(store)
llc = dvis.llc(store)
"""


class Line(NamedTuple):
    """A picture: what it shows, and what draws it."""

    title: str
    name: str
    says: str
    options: str | None
    python: str

    @property
    def command(self) -> str:
        """The command line, empty where only Python draws it."""
        if self.options is None:
            return ""
        words = ["dvis plot", self.name, STORE, self.options, f"--out {self.name}.png"]
        return " ".join(word for word in words if word)


_UNIT = "--layer layer4 --channel 3"
_UNITS, _ANSWERS = "Feature images", "Responses"
_TOP, _LATENTS, _CIRCUITS = "Top images", "Sparse autoencoders", "Circuits"
_LLC, _READ = "The local learning coefficient", "Probes and attributes"
_RAW = 'x="step", variable="activation"'

PICTURES = (
    Line(
        _UNITS, "trajectory", "Curves of units over training.",
        "--layer layer4 --x step --variable activation", f'ds.dvis.trajectory("layer4", {_RAW})',
    ),
    Line(
        _UNITS, "layers", "Curves of each layer, with quantiles of its units.",
        "--x step --variable activation", f"ds.dvis.trajectories_by_layer({_RAW})",
    ),
    Line(
        _UNITS, "timeline", "A unit's image at each checkpoint.",
        _UNIT, 'ds.dvis.timeline("layer4", 3)',
    ),
    Line(
        _UNITS, "development", "A unit's curve and its images on one axis.",
        f"{_UNIT} --x step", 'ds.dvis.development("layer4", 3, x="step")',
    ),
    Line(
        _UNITS, "grid", "Images of a layer's units at one checkpoint, by default the last.",
        "--layer layer4", 'ds.dvis.grid(layer="layer4")',
    ),
    Line(
        _UNITS, "heatmap", "All units over training, sorted by birth.",
        "--x step", 'ds.dvis.heatmap(x="step")',
    ),
    Line(
        _UNITS, "births", "When units of each layer are born: a point a unit.",
        "--x step", 'ds.dvis.births_by_layer(x="step")',
    ),
    Line(
        _ANSWERS, "cross-response", "A unit's images of all checkpoints, at all checkpoints.",
        f"{_UNIT} --name features-all", 'crossed.dvis.cross_response("layer4", 3)',
    ),
    Line(
        _ANSWERS, "selectivity", "How far one class drives a channel, beside shuffled labels.",
        "--layer layer4 --name shapes-val",
        'plots.selectivity_map(dvis.selectivity(answers.sel(layer=["layer4"])))',
    ),
    Line(
        _ANSWERS, "map", "Channels by what they answer: near ones answer alike.",
        "--layer layer4 --name shapes-val",
        'plots.unit_scatter(dvis.channel_map(answers.sel(layer=["layer4"])))',
    ),
    Line(
        _TOP, "top-images", "The images of a set that drive channels most, with where.",
        "--layer layer4 --channel 0 1 2 --name shapes-top",
        "top.dvis.top_images(channel=[0, 1, 2])",
    ),
    Line(
        _TOP, "top-image-timeline", "A channel's top images over training, below its images.",
        f"{_UNIT} --name shapes-top", "top.dvis.top_image_timeline(3, unit_images=ds)",
    ),
    Line(
        _LATENTS, "sae-frontier", "Explained variance by how few latents are active.",
        "--layer layer3", 'sae_pictures.sae_frontier({"wide": found})',
    ),
    Line(
        _LATENTS, "sae-training", "What training logged.",
        "--layer layer3", 'sae_pictures.sae_training({"wide": sae})',
    ),
    Line(
        _LATENTS, "latent-frequencies", "How often latents fire.",
        "--layer layer3 --name wide", "found.dvis.latent_frequencies()",
    ),
    Line(
        _LATENTS, "latent-sheet", "All of one latent: top images, classes beside shuffled labels.",
        "--layer layer3 --name wide --latent 3", "found.dvis.latent_sheet(3)",
    ),
    Line(
        _LATENTS, "latent-selectivity", "Which latents one class drives, beside shuffled labels.",
        "--layer layer3 --name wide", "plots.selectivity_map(dvis.latent_selectivity(found))",
    ),
    Line(
        _LATENTS, "latent-map", "Latents by their decoder directions.",
        "--layer layer3 --name wide", "plots.unit_scatter(dvis.latent_map(sae))",
    ),
    Line(
        _LATENTS, "sae-tracks", "Latents over checkpoints, where they are born and where they die.",
        "--layer layer3 --name wide", "tracks.dvis.sae_tracks()",
    ),
    Line(
        _LATENTS, "chain", "Numbers of autoencoders on autoencoders over depth.",
        "--layer layer3 --name wide", "chains.dvis.chain_curves()",
    ),
    Line(
        _LATENTS, "chain-tree", "What a latent of such an autoencoder is made of.",
        "--layer layer3 --name wide", "chains.dvis.chain_tree()",
    ),
    Line(
        _CIRCUITS, "circuit-film",
        "A unit and its strongest inputs, as they are at each checkpoint.",
        _UNIT, 'influence.dvis.circuit_film("layer4", 3, unit_images=ds)',
    ),
    Line(
        _CIRCUITS, "circuit", "What a unit is built of.",
        _UNIT, 'influence.dvis.circuit_graph("layer4", 3)',
    ),
    Line(
        _CIRCUITS, "edge-heatmap", "When a unit's inputs come up.",
        _UNIT, 'influence.dvis.edge_heatmap("layer4", 3)',
    ),
    Line(
        _CIRCUITS, "influence-matrix", "Influence of a layer on another.",
        "--layer layer4", 'influence.dvis.influence_matrix("layer4")',
    ),
    Line(
        _CIRCUITS, "chimera", "How networks answer whose lower or upper layers are early.",
        "--x step", 'dvis.chimera(store).dvis.chimera_curves(x="step")',
    ),
    Line(
        _READ, "accuracy-over-training", "What probes read off layers, beside their nulls.",
        "--x step", 'probes.dvis.accuracy_over_training(x="step")',
    ),
    Line(
        _READ, "accuracy-by-layer", "The same by depth.",
        "", "probes.dvis.accuracy_by_layer()",
    ),
    Line(
        _READ, "attributes", "What layers tell of drawn pairs, and what the output uses of it.",
        "--x step", 'attributes.dvis.attributes_over_training(x="step")',
    ),
    Line(
        _READ, "attribute-units", "Which units tell an attribute.",
        "", "attributes.dvis.attribute_units()",
    ),
    Line(
        _READ, "attribute-pairs", "The pairs.",
        "", "attributes.dvis.attribute_pairs()",
    ),
    Line(
        _LLC, "llc-over-training", "The estimate at each checkpoint; diamonds have not settled.",
        None, 'llc.dvis.llc_over_training(x="step")',
    ),
)  # fmt: skip

# Pictures of what takes longer to measure than these pages should take to build.
NOT_SHOWN = ("seeds", "event-alignment", "track-film")

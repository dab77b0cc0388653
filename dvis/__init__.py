"""How a vision model learns: every feature image of every training checkpoint in one Zarr store."""

from importlib.metadata import version as _version

from dvis import measure
from dvis.accessor import DvisAccessor
from dvis.analysis.matching import match_runs, shared_births
from dvis.analysis.selectivity import selectivity_births
from dvis.analysis.together import alignment
from dvis.check import check_store
from dvis.kinds.activations.read import activations
from dvis.kinds.attributes.read import attributes
from dvis.kinds.chimera.read import chimera
from dvis.kinds.edges.read import edges
from dvis.kinds.features.images.compaction import compact_store
from dvis.kinds.features.read import runs, variants
from dvis.kinds.features.tree.export import export_tree
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.kinds.influence.analysis.sizes import sizes_and_births
from dvis.kinds.influence.read import influence
from dvis.kinds.llc.read import llc, llc_names, llc_traces
from dvis.kinds.probes.read import probes
from dvis.kinds.responses.analysis import selectivity
from dvis.kinds.responses.maps import channel_cosines, channel_map
from dvis.kinds.responses.read import response_names, responses
from dvis.kinds.saes.chains.read import chains
from dvis.kinds.saes.explain import explain_latents
from dvis.kinds.saes.maps import latent_cosines, latent_map
from dvis.kinds.saes.naming import name_latents
from dvis.kinds.saes.read import latents, saes, tracks
from dvis.kinds.saes.search import search_latents
from dvis.kinds.saes.selectivity import latent_selectivity
from dvis.kinds.saes.units import latent_units
from dvis.kinds.sizes.read import sizes
from dvis.opening import open, tree
from dvis.page.static import export_page
from dvis.reporting.write import write_report
from dvis.schema import SchemaError, Status
from dvis.store.contents import contents
from dvis.store.places import set_steps
from dvis.store.unit_names import latent_names
from dvis.store.unit_notes import add_notes, note, notes, save_notes

__all__ = [
    "DvisAccessor",
    "SchemaError",
    "Status",
    "activations",
    "add_notes",
    "alignment",
    "attributes",
    "chains",
    "channel_cosines",
    "channel_map",
    "check_store",
    "chimera",
    "compact_store",
    "contents",
    "edges",
    "explain_latents",
    "export_page",
    "export_tree",
    "influence",
    "ingest_tree",
    "latent_cosines",
    "latent_map",
    "latent_names",
    "latent_selectivity",
    "latent_units",
    "latents",
    "llc",
    "llc_names",
    "llc_traces",
    "match_runs",
    "measure",
    "name_latents",
    "note",
    "notes",
    "open",
    "probes",
    "response_names",
    "responses",
    "runs",
    "saes",
    "save_notes",
    "search_latents",
    "selectivity",
    "selectivity_births",
    "set_steps",
    "shared_births",
    "sizes",
    "sizes_and_births",
    "tracks",
    "tree",
    "variants",
    "write_report",
]
__version__ = _version("dvis")


def __dir__() -> list[str]:
    """The face, without the modules behind it."""
    return [*__all__, "__version__"]

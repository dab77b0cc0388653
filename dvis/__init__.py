"""How a vision model learns: every feature image of every training checkpoint in one Zarr store."""

from importlib.metadata import version as _version

from dvis.accessor import DvisAccessor
from dvis.analysis.together import alignment
from dvis.check import check_store
from dvis.compact import compact_store
from dvis.export import export_tree
from dvis.ingest import ingest_tree
from dvis.llc_store import llc, llc_names, llc_traces
from dvis.response_store import response_names, responses
from dvis.schema import SchemaError, Status
from dvis.store import open, runs, variants
from dvis.views.page.static import export_page

__all__ = [
    "DvisAccessor",
    "SchemaError",
    "Status",
    "alignment",
    "check_store",
    "compact_store",
    "export_page",
    "export_tree",
    "ingest_tree",
    "llc",
    "llc_names",
    "llc_traces",
    "open",
    "response_names",
    "responses",
    "runs",
    "variants",
]
__version__ = _version("dvis")

"""What edges are to the rest of dvis."""

from dvis.kinds.edges.read import EDGES_READER
from dvis.kinds.edges.words import WORDS
from dvis.kinds.kind import Kind

EDGES = Kind(
    reader=EDGES_READER,
    words=lambda _attrs: WORDS,
)

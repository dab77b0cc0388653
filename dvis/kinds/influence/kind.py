"""What influence is to the rest of dvis."""

from dvis.kinds.influence.parts import unit_graphs
from dvis.kinds.influence.read import INFLUENCE_READER
from dvis.kinds.influence.words import WORDS
from dvis.kinds.kind import Kind

INFLUENCE = Kind(
    reader=INFLUENCE_READER,
    words=lambda _attrs: WORDS,
    parts=unit_graphs,
)

"""What influence is to the rest of dvis."""

from dvis.kinds.influence.assembly_command import assembly
from dvis.kinds.influence.read import INFLUENCE_READER
from dvis.kinds.influence.words import WORDS
from dvis.kinds.kind import Kind, plainly

INFLUENCE = Kind(
    reader=INFLUENCE_READER,
    words=lambda _attrs: WORDS,
    commands={"assembly": plainly(assembly)},
)

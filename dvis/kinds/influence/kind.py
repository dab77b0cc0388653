"""What influence is to the rest of dvis."""

from dvis.kinds.influence.assembly_command import assembly
from dvis.kinds.influence.check import influence_faults
from dvis.kinds.influence.command import influence
from dvis.kinds.influence.parts import unit_graphs
from dvis.kinds.influence.plot_command import PICTURES
from dvis.kinds.influence.read import INFLUENCE_READER
from dvis.kinds.influence.told import influence_sections
from dvis.kinds.influence.words import WORDS
from dvis.kinds.kind import Kind, plainly

INFLUENCE = Kind(
    reader=INFLUENCE_READER,
    words=lambda _attrs: WORDS,
    faults=influence_faults,
    told=influence_sections,
    commands={"influence": plainly(influence), "assembly": plainly(assembly)},
    pictures=PICTURES,
    parts=unit_graphs,
)

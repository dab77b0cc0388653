"""What attributes of drawn pairs are to the rest of dvis."""

from dvis.kinds.attributes.check import attribute_faults
from dvis.kinds.attributes.command import attributes
from dvis.kinds.attributes.parts import attribute_parts
from dvis.kinds.attributes.plot_command import PICTURES
from dvis.kinds.attributes.read import ATTRIBUTE_READER
from dvis.kinds.attributes.told import attribute_sections
from dvis.kinds.attributes.words import attribute_words
from dvis.kinds.kind import Kind, plainly

ATTRIBUTES = Kind(
    reader=ATTRIBUTE_READER,
    words=attribute_words,
    faults=attribute_faults,
    parts=attribute_parts,
    told=attribute_sections,
    commands={"attributes": plainly(attributes)},
    pictures=PICTURES,
)

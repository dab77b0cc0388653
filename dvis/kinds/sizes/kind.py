"""What sizes are to the rest of dvis."""

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.sizes.check import size_faults
from dvis.kinds.sizes.command import sizes
from dvis.kinds.sizes.parts import size_curves
from dvis.kinds.sizes.read import SIZE_READER
from dvis.kinds.sizes.told import size_sections
from dvis.kinds.sizes.words import WORDS

SIZES = Kind(
    reader=SIZE_READER,
    words=lambda _attrs: WORDS,
    faults=size_faults,
    parts=size_curves,
    told=size_sections,
    commands={"sizes": plainly(sizes)},
)

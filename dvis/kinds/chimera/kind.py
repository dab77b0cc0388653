"""What chimeras are to the rest of dvis."""

from dvis.kinds.chimera.check import chimera_faults
from dvis.kinds.chimera.command import chimera
from dvis.kinds.chimera.parts import chimera_parts
from dvis.kinds.chimera.pictures import chimera_curves
from dvis.kinds.chimera.read import CHIMERA_READER
from dvis.kinds.chimera.told import chimera_sections
from dvis.kinds.chimera.words import WORDS
from dvis.kinds.kind import Kind, plainly
from dvis.kinds.picture import Picture

CHIMERA = Kind(
    reader=CHIMERA_READER,
    words=lambda _attrs: WORDS,
    faults=chimera_faults,
    parts=chimera_parts,
    told=chimera_sections,
    commands={"chimera": plainly(chimera)},
    pictures={
        "chimera": Picture(
            draw=chimera_curves, options=("x", "xscale"), opens=("name",), one=("layer",)
        )
    },
)

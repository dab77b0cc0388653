"""What linear probes are to the rest of dvis."""

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.picture import Picture
from dvis.kinds.probes.check import probe_faults
from dvis.kinds.probes.command import probe
from dvis.kinds.probes.parts import probe_parts
from dvis.kinds.probes.pictures import draw_by_layer, draw_over_training
from dvis.kinds.probes.read import PROBE_READER
from dvis.kinds.probes.words import WORDS

PROBES = Kind(
    reader=PROBE_READER,
    words=lambda _attrs: WORDS,
    faults=probe_faults,
    parts=probe_parts,
    commands={"probe": plainly(probe)},
    pictures={
        "accuracy-over-training": Picture(
            draw=draw_over_training, options=("target", "x", "xscale"), opens=("name",)
        ),
        "accuracy-by-layer": Picture(
            draw=draw_by_layer, options=("target", "checkpoint"), opens=("name",)
        ),
    },
)

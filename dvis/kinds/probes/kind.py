"""What linear probes are to the rest of dvis."""

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.probes.check import probe_faults
from dvis.kinds.probes.command import probe
from dvis.kinds.probes.parts import probe_parts
from dvis.kinds.probes.plot_command import PICTURES
from dvis.kinds.probes.read import PROBE_READER
from dvis.kinds.probes.told import probe_sections
from dvis.kinds.probes.words import probe_words

PROBES = Kind(
    reader=PROBE_READER,
    words=probe_words,
    faults=probe_faults,
    parts=probe_parts,
    told=probe_sections,
    commands={"probe": plainly(probe)},
    pictures=PICTURES,
)

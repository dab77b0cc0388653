"""What the local learning coefficient is to the rest of dvis."""

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.llc.check import chain_faults
from dvis.kinds.llc.command import llc
from dvis.kinds.llc.info import chain_lines
from dvis.kinds.llc.joined import with_llc
from dvis.kinds.llc.parts import llc_curve
from dvis.kinds.llc.read import CHAIN_READER
from dvis.kinds.llc.told import llc_sections
from dvis.kinds.llc.words import WORDS

LLC = Kind(
    reader=CHAIN_READER,
    words=lambda _attrs: WORDS,
    faults=chain_faults,
    join=with_llc,
    parts=llc_curve,
    describe=chain_lines,
    told=llc_sections,
    commands={"llc": plainly(llc)},
)

"""What responses are to the rest of dvis."""

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.responses.check import response_faults
from dvis.kinds.responses.command import respond
from dvis.kinds.responses.mapped import channel_maps
from dvis.kinds.responses.parts import unit_matrices
from dvis.kinds.responses.plot_command import PICTURES
from dvis.kinds.responses.read import RESPONSE_READER
from dvis.kinds.responses.told import response_sections
from dvis.kinds.responses.words import words_of

RESPONSES = Kind(
    reader=RESPONSE_READER,
    words=words_of,
    faults=response_faults,
    parts=unit_matrices,
    maps=channel_maps,
    told=response_sections,
    commands={"respond": plainly(respond)},
    pictures=PICTURES,
)

"""What activations are to the rest of dvis."""

from dvis.kinds.activations.check import activation_faults
from dvis.kinds.activations.command import activations
from dvis.kinds.activations.group import ActivationGroup
from dvis.kinds.activations.parts import top_images
from dvis.kinds.activations.plot_command import PICTURES
from dvis.kinds.activations.read import READER
from dvis.kinds.activations.told import activation_sections
from dvis.kinds.activations.words import words_of
from dvis.kinds.kind import Kind, plainly

ACTIVATIONS = Kind(
    reader=READER,
    words=words_of,
    group=ActivationGroup,
    faults=activation_faults,
    parts=top_images,
    told=activation_sections,
    commands={"activations": plainly(activations)},
    pictures=PICTURES,
)

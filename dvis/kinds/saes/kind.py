"""What sparse autoencoders are to the rest of dvis."""

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.saes.check import sae_faults
from dvis.kinds.saes.command import sae
from dvis.kinds.saes.listed import listed_latents
from dvis.kinds.saes.plot_command import PICTURES
from dvis.kinds.saes.read import SAE_READER
from dvis.kinds.saes.words import words_of

SAES = Kind(
    reader=SAE_READER,
    words=words_of,
    faults=sae_faults,
    listed=listed_latents,
    commands={"sae": plainly(sae)},
    pictures=PICTURES,
)

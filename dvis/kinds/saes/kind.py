"""What sparse autoencoders are to the rest of dvis."""

from collections.abc import Mapping
from typing import Any

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.saes.chains.words import chain_words
from dvis.kinds.saes.check import sae_faults
from dvis.kinds.saes.command import sae
from dvis.kinds.saes.listed import listed_latents
from dvis.kinds.saes.mapped import latent_maps
from dvis.kinds.saes.plot_command import PICTURES
from dvis.kinds.saes.read import SAE_READER
from dvis.kinds.saes.told import sae_sections
from dvis.kinds.saes.tracks.words import track_words
from dvis.kinds.saes.words import (
    KIND,
    evaluation_words,
    is_chains,
    is_evaluation,
    is_tracks,
    sae_words,
)
from dvis.schema import Words


def words_of(attrs: Mapping[str, Any]) -> Words:
    """Words of the group with these attributes; without arrays where they say no layer."""
    if not isinstance(attrs.get("layer"), str):
        return Words(kind=KIND, arrays={})
    if is_tracks(attrs):
        return track_words()
    if is_chains(attrs):
        return chain_words()
    return evaluation_words() if is_evaluation(attrs) else sae_words()


SAES = Kind(
    reader=SAE_READER,
    words=words_of,
    faults=sae_faults,
    listed=listed_latents,
    maps=latent_maps,
    told=sae_sections,
    commands={"sae": plainly(sae)},
    pictures=PICTURES,
)

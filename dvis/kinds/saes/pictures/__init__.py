"""Pictures of sparse autoencoders and their latents.

Datasets in, a matplotlib figure out.
"""

from dvis.kinds.saes.pictures.chains import chain_curves
from dvis.kinds.saes.pictures.film import track_film
from dvis.kinds.saes.pictures.frequencies import latent_frequencies
from dvis.kinds.saes.pictures.frontier import sae_frontier
from dvis.kinds.saes.pictures.latent import latent_sheet
from dvis.kinds.saes.pictures.rules import latent_rules
from dvis.kinds.saes.pictures.tracks import sae_tracks
from dvis.kinds.saes.pictures.training import sae_training
from dvis.kinds.saes.pictures.trees import chain_tree

__all__ = [
    "chain_curves",
    "chain_tree",
    "latent_frequencies",
    "latent_rules",
    "latent_sheet",
    "sae_frontier",
    "sae_tracks",
    "sae_training",
    "track_film",
]

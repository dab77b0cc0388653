"""What `ds.dvis` can do with sparse autoencoders and their latents."""

from dvis.kinds.methods import method_of
from dvis.kinds.saes import maps, pictures
from dvis.kinds.saes.chains.analysis import chain_trends
from dvis.kinds.saes.selectivity import latent_selectivity


class SaeMethods:
    """Pictures of autoencoders, latents and chains, and questions to them."""

    sae_frontier = method_of(pictures.sae_frontier)
    sae_training = method_of(pictures.sae_training)
    latent_frequencies = method_of(pictures.latent_frequencies)
    latent_rules = method_of(pictures.latent_rules)
    latent_sheet = method_of(pictures.latent_sheet)
    latent_cosines = method_of(maps.latent_cosines)
    latent_map = method_of(maps.latent_map)
    latent_selectivity = method_of(latent_selectivity)
    sae_tracks = method_of(pictures.sae_tracks)
    chain_curves = method_of(pictures.chain_curves)
    chain_tree = method_of(pictures.chain_tree)
    chain_trends = method_of(chain_trends)
    track_film = method_of(pictures.track_film)

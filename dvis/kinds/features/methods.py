"""What `ds.dvis` can do with feature images."""

from dvis.kinds.features import agreement, model_inputs, pictures, wavelengths
from dvis.kinds.methods import method_of


class FeatureMethods:
    """Model inputs and pictures of units."""

    model_input = method_of(model_inputs.model_input)
    seed_agreement = method_of(agreement.seed_agreement)
    wavelength = method_of(wavelengths.wavelength)
    timeline = method_of(pictures.timeline)
    development = method_of(pictures.development)
    grid = method_of(pictures.grid)
    seeds = method_of(pictures.seeds)

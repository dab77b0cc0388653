"""Feature visualisation: the image that a unit responds to most, by gradient ascent."""

from dvis.kinds.features.measure.measurement import FeatureVisualisation
from dvis.kinds.features.measure.objectives import (
    Objective,
    channel,
    class_logit,
    direction,
    neuron,
)
from dvis.kinds.features.options import PRESETS, FeatureSettings, feature_settings
from dvis.kinds.features.tasks import FeatureTask

__all__ = [
    "PRESETS",
    "FeatureSettings",
    "FeatureTask",
    "FeatureVisualisation",
    "Objective",
    "channel",
    "class_logit",
    "direction",
    "feature_settings",
    "neuron",
]

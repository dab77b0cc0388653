"""Feature visualisation: the image that a unit responds to most, by gradient ascent."""

from dvis.measure.feature_settings import PRESETS, FeatureSettings, feature_settings
from dvis.measure.features.measurement import FeatureTask, FeatureVisualisation
from dvis.measure.features.objectives import (
    Objective,
    channel,
    class_logit,
    direction,
    neuron,
)

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

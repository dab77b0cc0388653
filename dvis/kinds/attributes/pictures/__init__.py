"""Pictures of attributes: what layers tell and the output uses, units, and the pairs."""

from dvis.kinds.attributes.pictures.over_training import attributes_over_training
from dvis.kinds.attributes.pictures.sheets import attribute_pairs, attribute_units

__all__ = ["attribute_pairs", "attribute_units", "attributes_over_training"]

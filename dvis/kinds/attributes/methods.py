"""Methods of `ds.dvis` that attributes have, each a function of the Dataset."""

from dvis.kinds.attributes import analysis, pictures
from dvis.kinds.methods import method_of


class AttributeMethods:
    """Questions to a Dataset that `dvis.attributes` gave, and its pictures."""

    attribute_dates = method_of(analysis.attribute_dates)
    attributes_over_training = method_of(pictures.attributes_over_training)
    attribute_units = method_of(pictures.attribute_units)
    attribute_pairs = method_of(pictures.attribute_pairs)

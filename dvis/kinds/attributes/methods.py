"""Methods of `ds.dvis` that attributes have, each a function of the Dataset."""

from dvis.kinds.attributes import analysis
from dvis.kinds.methods import method_of


class AttributeMethods:
    """Questions to a Dataset that `dvis.attributes` gave, and its pictures."""

    attribute_dates = method_of(analysis.attribute_dates)

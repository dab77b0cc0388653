"""Methods of `ds.dvis` that influence has, each a function of the Dataset."""

from dvis.kinds.influence.analysis.edge_births import edge_births as _edge_births
from dvis.kinds.influence.read import reliability as _reliability
from dvis.kinds.methods import method_of


class InfluenceMethods:
    """Questions to a Dataset that `dvis.influence` gave."""

    reliability = method_of(_reliability)
    edge_births = method_of(_edge_births)

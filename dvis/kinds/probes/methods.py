"""Methods of `ds.dvis` that probes have, each a function of the Dataset."""

from dvis.kinds.methods import method_of
from dvis.kinds.probes import analysis, pictures


class ProbeMethods:
    """Questions to a Dataset that `dvis.probes` gave, and its pictures."""

    tells_from = method_of(analysis.tells_from)
    accuracy_over_training = method_of(pictures.accuracy_over_training)
    accuracy_by_layer = method_of(pictures.accuracy_by_layer)

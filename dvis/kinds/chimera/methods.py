"""Methods of `ds.dvis` that chimeras have, each a function of the Dataset."""

from dvis.kinds.chimera import analysis, pictures
from dvis.kinds.methods import method_of


class ChimeraMethods:
    """Questions to a Dataset that `dvis.chimera` gave, and its picture."""

    waits_for_inputs = method_of(analysis.waits_for_inputs)
    chimera_curves = method_of(pictures.chimera_curves)

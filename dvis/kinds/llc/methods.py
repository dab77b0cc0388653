"""What `ds.dvis` can do with chains and the local learning coefficient."""

from dvis.kinds.llc import pictures
from dvis.kinds.llc.analysis import llc_and_births
from dvis.kinds.llc.read import traces_of
from dvis.kinds.methods import method_of


class LLCMethods:
    """Traces, births beside changes of the coefficient, and pictures."""

    llc_traces = method_of(traces_of)
    births_at_llc_changes = method_of(llc_and_births.births_at_llc_changes)
    llc_calibration = method_of(pictures.llc_calibration)
    llc_chains = method_of(pictures.llc_chains)
    llc_over_training = method_of(pictures.llc_over_training)
    llc_by_parameters = method_of(pictures.llc_by_parameters)
    llc_and_births = method_of(pictures.llc_and_births)

"""Methods of `ds.dvis` that influence has, each a function of the Dataset."""

from dvis.kinds.influence.analysis.edge_births import edge_births as _edge_births
from dvis.kinds.influence.analysis import assembly as _assembly
from dvis.kinds.influence.analysis import events, stability
from dvis.kinds.influence.read import reliability as _reliability
from dvis.kinds.methods import method_of


class InfluenceMethods:
    """Questions to a Dataset that `dvis.influence` gave."""

    assembly = method_of(_assembly.assembly)
    event_alignment = method_of(events.event_alignment)
    circuit_stability = method_of(stability.circuit_stability)
    reliability = method_of(_reliability)
    edge_births = method_of(_edge_births)

"""Methods of `ds.dvis` that influence has, each a function of the Dataset."""

from dvis.kinds.influence import circuits, pictures
from dvis.kinds.influence.analysis import assembly as _assembly
from dvis.kinds.influence.analysis import events, stability
from dvis.kinds.influence.analysis.edge_births import edge_births as _edge_births
from dvis.kinds.influence.read import reliability as _reliability
from dvis.kinds.methods import method_of


class InfluenceMethods:
    """Questions to a Dataset that `dvis.influence` gave."""

    assembly = method_of(_assembly.assembly)
    event_alignment = method_of(events.event_alignment)
    circuit_stability = method_of(stability.circuit_stability)
    reliability = method_of(_reliability)
    edge_births = method_of(_edge_births)

    top_inputs = method_of(circuits.top_inputs)
    top_outputs = method_of(circuits.top_outputs)
    circuit = method_of(circuits.circuit)

    circuit_film = method_of(pictures.circuit_film)
    circuit_graph = method_of(pictures.circuit_graph)
    edge_heatmap = method_of(pictures.edge_heatmap)
    influence_matrix = method_of(pictures.influence_matrix)
    event_curves = method_of(pictures.event_curves)

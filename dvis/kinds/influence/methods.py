"""Methods of `ds.dvis` that influence has, each a function of the Dataset."""

from dvis.kinds.influence import circuits, pictures
from dvis.kinds.influence.read import reliability as _reliability
from dvis.kinds.methods import method_of


class InfluenceMethods:
    """Questions to a Dataset that `dvis.influence` gave."""

    reliability = method_of(_reliability)

    top_inputs = method_of(circuits.top_inputs)
    top_outputs = method_of(circuits.top_outputs)
    circuit = method_of(circuits.circuit)

    circuit_film = method_of(pictures.circuit_film)
    circuit_graph = method_of(pictures.circuit_graph)
    edge_heatmap = method_of(pictures.edge_heatmap)
    influence_matrix = method_of(pictures.influence_matrix)
    event_curves = method_of(pictures.event_curves)

"""Pictures of influence: a unit's inputs over training, what it is built of, layers onto layers.

Datasets in, a matplotlib figure out.
"""

from dvis.kinds.influence.pictures.edges import edge_heatmap
from dvis.kinds.influence.pictures.events import event_curves
from dvis.kinds.influence.pictures.film import circuit_film
from dvis.kinds.influence.pictures.graph import circuit_graph
from dvis.kinds.influence.pictures.matrix import influence_matrix

__all__ = ["circuit_film", "circuit_graph", "edge_heatmap", "event_curves", "influence_matrix"]

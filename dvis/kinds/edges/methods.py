"""Methods of `ds.dvis` that edges have, each a function of the Dataset."""

from dvis.kinds.edges.pictures import kernels_film as _kernels_film
from dvis.kinds.methods import method_of


class EdgesMethods:
    """Pictures of what connects channels."""

    kernels_film = method_of(_kernels_film)

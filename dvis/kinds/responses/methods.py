"""What `ds.dvis` can do with responses."""

from dvis.kinds.methods import method_of
from dvis.kinds.responses import pictures


class ResponseMethods:
    """Pictures of responses."""

    cross_response = method_of(pictures.cross_response)

"""What `ds.dvis` can do with responses."""

from dvis.kinds.methods import method_of
from dvis.kinds.responses import analysis, pictures


class ResponseMethods:
    """Pictures of responses, and questions to them."""

    selectivity = method_of(analysis.selectivity)
    cross_response = method_of(pictures.cross_response)

"""What `ds.dvis` can do with responses."""

from dvis.kinds.methods import method_of
from dvis.kinds.responses import analysis, maps, pictures


class ResponseMethods:
    """Pictures of responses, and questions to them."""

    channel_cosines = method_of(maps.channel_cosines)
    channel_map = method_of(maps.channel_map)
    selectivity = method_of(analysis.selectivity)
    cross_response = method_of(pictures.cross_response)

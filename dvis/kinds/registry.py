"""The kinds of measurement that dvis knows: a line each."""

from dvis.kinds.features.kind import FEATURES
from dvis.kinds.kind import Kind
from dvis.kinds.llc.kind import LLC
from dvis.kinds.responses.kind import RESPONSES

KINDS: dict[str, Kind] = {kind.name: kind for kind in (FEATURES, RESPONSES, LLC)}

# The kind that `dvis.open` gives where none is named, and whose units the page walks through.
OF_UNITS = FEATURES.name

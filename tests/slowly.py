"""A parameter of a test that takes minutes: `make test-slow` runs it, `make test` leaves it out.

So is a further member of a long family, of which `make test` runs those that differ in kind.
"""

from typing import Any

import pytest


def slowly(*values: Any) -> Any:
    """The value, or the values of several arguments, for `pytest.mark.parametrize`."""
    return pytest.param(*values, marks=pytest.mark.slow)

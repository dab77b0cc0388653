"""A parameter of a test that takes minutes: `make test-slow` runs it, `make test` leaves it out."""

from typing import Any

import pytest


def slowly(value: Any) -> Any:
    """The value, for `pytest.mark.parametrize`."""
    return pytest.param(value, marks=pytest.mark.slow)

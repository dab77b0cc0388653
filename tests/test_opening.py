"""What `dvis.open` says when a kind, a name or a variant does not fit the store."""

from pathlib import Path
from typing import Any

import pytest
from made_up_responses import NAME, write_responses

import dvis


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_responses(tmp_path / "s.zarr", "image")
    return tmp_path / "s.zarr"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"name": NAME}, KeyError, r"that name is of responses: give kind='responses'"),
        ({"kind": "response"}, KeyError, "Did you mean 'responses'"),
        ({"kind": 3}, KeyError, "No kind '3' in dvis. Kinds: features"),
        ({"kind": ["llc"]}, KeyError, "No kind"),
        ({"kind": "responses", "name": 3}, KeyError, "No name '3' in"),
        ({"kind": "responses", "run": "other"}, KeyError, "No run 'other' in the responses of"),
        ({"kind": "responses", "variant": NAME}, ValueError, "give variant alone, or kind="),
        ({"kind": "responses", "name": NAME, "variant": "average-0"}, ValueError, "give variant"),
    ],
)
def test_what_does_not_fit_is_told(
    given: dict[str, Any], error: type[Exception], text: str, store: Path
) -> None:
    with pytest.raises(error, match=text):
        dvis.open(store, **given)
    assert dvis.open(store, kind="responses", name=NAME).attrs["run"]

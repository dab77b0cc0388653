"""What is written on the page: the request of a note about a unit in, the note in the store out."""

import json

from starlette.exceptions import HTTPException
from starlette.requests import Request

from dvis.kinds.shown import NotShownError, ShownUnits
from dvis.page.lists import keep_list_note
from dvis.store.unit_notes import note

_MAX_BYTES = 2**14


async def text_of(request: Request) -> str:
    """The text of a note that the page sends."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BYTES:
            raise HTTPException(413, "The note is too long")
    try:
        text = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError) as err:
        raise HTTPException(400, "A note is a JSON object with a text") from err
    if not isinstance(text, str):
        raise HTTPException(400, "The text of a note is a text")
    return text.strip()


def keep_note(shown: ShownUnits, text: str, variant: int, layer: int, channel: int) -> None:
    """Keep a note about a unit, by the numbers of its address.

    Raises
    ------
    NotShownError
        When there is no such layer.
    HTTPException
        When it is no note that the store takes.
    """
    layers, run = shown.outline(variant).layers, shown.entries()[variant].run
    if not layer < len(layers):
        raise NotShownError(f"No layer number {layer}: there are {len(layers)}")
    try:
        note(shown.source, text, layer=layers[layer].name, channel=channel, run=run)
    except (KeyError, ValueError) as err:
        raise HTTPException(400, str(err.args[0])) from err


def keep_note_of_list(shown: ShownUnits, text: str, number: int, unit: int) -> None:
    """Keep a note about a unit of a list, by the numbers of its address.

    Raises
    ------
    NotShownError
        When there is no such list or unit.
    HTTPException
        When it is no note that the store takes.
    """
    try:
        keep_list_note(shown, text, number, unit)
    except NotShownError:
        raise
    except (KeyError, ValueError) as err:
        raise HTTPException(400, str(err.args[0])) from err

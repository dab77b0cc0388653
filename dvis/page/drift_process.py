"""Drift of a layer, computed beside the server.

It decodes every image of a layer, which would slow down whoever is looking meanwhile, and takes
memory that a process does not give back until it ends.
"""

import asyncio
import sys
from contextlib import suppress

import orjson

from dvis.kinds.shown import ShownUnits
from dvis.page.documents import drift, shown_units
from dvis.page.plain import as_json
from dvis.store.recent import Recent

_MAX_KEPT = 64


class DriftError(OSError):
    """The process that computes drift has failed."""


class DriftProcess:
    """Runs one process at a time, and keeps what came out while the images are the same."""

    def __init__(self, shown: ShownUnits) -> None:
        self._shown = shown
        self._kept: Recent[bytes] = Recent(_MAX_KEPT)
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def document(self, variant: int, layer: int, version: str) -> bytes:
        """The document `drift` of a layer, as JSON; `version` is that of its pictures.

        Raises
        ------
        DriftError
            When it cannot be computed.
        """
        async with self._lock:
            found = self._kept.find((variant, layer), version)
            if found is None:
                found = await self._computed(variant, layer)
                self._kept.put((variant, layer), version, found)
            return found

    async def close(self) -> None:
        """End the process that is under way."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _computed(self, variant: int, layer: int) -> bytes:
        asked = orjson.dumps([self._shown.name, variant, layer])
        self._process = await asyncio.create_subprocess_exec(
            # Without -P a file of the current folder would be imported for one of Python's own.
            *(sys.executable, "-P", "-m", __name__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's to handle
        )
        try:
            given, said = await self._process.communicate(asked)
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._process.returncode:
            reason = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise DriftError(f"Drift was not computed: {reason or 'its process was ended'}")
        return given


def main() -> None:
    """Compute what standard input asks for, and write it to standard output."""
    store, variant, layer = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(as_json(drift(shown_units(store), variant, layer)))


if __name__ == "__main__":
    main()

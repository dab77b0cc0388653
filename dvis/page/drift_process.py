"""Drift of a layer, computed beside the server.

It decodes every image of a layer, which would slow down whoever is looking meanwhile, and takes
memory that a process does not give back until it ends.
"""

import asyncio
import sys
from contextlib import suppress

import orjson

from dvis.kinds.features.shown.documents import drift
from dvis.kinds.features.shown.selection import Recent, ShownLayer, ShownStore
from dvis.page.plain import as_json

_MAX_KEPT = 64


class DriftError(OSError):
    """The process that computes drift has failed."""


class DriftProcess:
    """Runs one process at a time, and keeps what came out while the images are the same."""

    def __init__(self, store: ShownStore) -> None:
        self._store = store
        self._kept: Recent[bytes] = Recent(_MAX_KEPT)
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def document(self, layer: ShownLayer, variant: int, index: int) -> bytes:
        """The document `drift` of a layer, as JSON.

        Raises
        ------
        DriftError
            When it cannot be computed.
        """
        name, version = (variant, index), layer.version_of_all()
        async with self._lock:
            found = self._kept.find(name, version)
            if found is None:
                found = await self._computed(variant, index)
                self._kept.put(name, version, found)
            return found

    async def close(self) -> None:
        """End the process that is under way."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _computed(self, variant: int, index: int) -> bytes:
        asked = orjson.dumps([self._store.name, variant, index])
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
    store, variant, index = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(as_json(drift(ShownStore(store), variant, index)))


if __name__ == "__main__":
    main()

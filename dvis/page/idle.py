"""Connections that say nothing are ended: uvicorn waits for ever for their first request."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_AT_REST = (h11.IDLE, h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


def ending_idle(seconds: float) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, which ends a connection without a request after so many seconds."""

    class EndingIdle(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._began = self.loop.time()
            self._look_later = self.loop.call_later(seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._look_later.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:  # a whole request: letters one by one are none
                self._began = self.loop.time()

        @property
        def _is_answering(self) -> bool:
            return self.conn.our_state not in _AT_REST

        def _look(self) -> None:
            left = seconds
            if self._is_answering:
                self._began = self.loop.time()
            else:
                left = self._began + seconds - self.loop.time()
            if left <= 0:
                self.transport.close()
            else:
                self._look_later = self.loop.call_later(left, self._look)

    return EndingIdle

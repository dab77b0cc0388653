"""Who may read from the server: this machine's own browser, from the page itself.

A page shows what is on somebody's disk, and any web site that they visit can send requests to
their machine. So a request has to name this server as its host (a name that another site has had
point here is refused), must come from the page itself, and can only read. Where notes may be
written, a request that writes one says so by a token that the page alone was given.
"""

import hmac
import ipaddress
import json
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_METHODS = ("GET", "HEAD")
WRITTEN_BELOW, TOKEN = "/api/note/", "x-dvis-token"


class Guard:
    """Refuses what does not come from the page, and adds headers that keep a browser strict.

    Parameters
    ----------
    app : ASGI application
        What answers the requests that are let through.
    names : iterable of str
        Names by which the server may be called, besides `localhost`.
    any_address : bool
        Whether it may be called by any address in numbers, for a server that others are to reach;
        else by those of the loopback alone.
    token : str, optional
        What a request that writes a note has to know; without one none is let through.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Iterable[str] = (),
        any_address: bool = False,
        token: str | None = None,
    ) -> None:
        self.app, self.token = app, token
        self.names = {"localhost", *(name.lower() for name in names)}
        self.any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), text.encode()) for name, text in _SECURITY.items()),
                ]
            await send(message)

        fault = self._fault_of(scope)
        if fault is None:
            await self.app(scope, receive, send_strictly)
            return
        status, text = fault
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if status == 405:
            headers.append((b"allow", b", ".join(method.encode() for method in _METHODS)))
        await send_strictly({"type": "http.response.start", "status": status, "headers": headers})
        body = json.dumps({"error": text}).encode() if scope["method"] != "HEAD" else b""
        await send({"type": "http.response.body", "body": body})

    def _fault_of(self, scope: Scope) -> tuple[int, str] | None:
        """Status and text of a refusal, None where the request is let through."""
        headers = _headers_of(scope)
        if len(headers.get("host", ())) != 1 or not self._is_ours(headers["host"][0]):
            return 421, "This server does not go by that name"
        if scope["method"] not in _METHODS and not self._may_write(scope):
            return 405, "This server only reads"
        (host,) = headers["host"]
        if any(origin != f"{scope['scheme']}://{host}" for origin in headers.get("origin", ())):
            return 403, "This server answers to its own page alone"
        if scope["method"] not in _METHODS and not self._is_of_page(headers):
            return 403, "Only this server's page may write: load it again"
        sites = headers.get("sec-fetch-site", [])
        if any(site not in ("same-origin", "none") for site in sites) and not (
            # Somebody follows a link to the page: the other site does not see what comes.
            scope["path"] == "/"
            and headers.get("sec-fetch-mode") == ["navigate"]
            and headers.get("sec-fetch-dest") == ["document"]
        ):
            return 403, "This server answers to its own page alone"
        return None

    def _may_write(self, scope: Scope) -> bool:
        is_note = scope["path"].startswith(WRITTEN_BELOW)
        return self.token is not None and scope["method"] == "POST" and is_note

    def _is_of_page(self, headers: Mapping[str, list[str]]) -> bool:
        """Whether a request comes from a page that was given the token, of this server's origin."""
        told, known = headers.get(TOKEN, []), self.token
        if len(told) != 1 or not known or not headers.get("origin"):
            return False
        return hmac.compare_digest(told[0].encode(), known.encode())

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server; the port does not matter, for tunnels."""
        name = _name_of(host)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return address.is_loopback or self.any_address or name in self.names


def _headers_of(scope: Scope) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _name_of(host: str) -> str | None:
    """The host of a Host header without its port, in small letters; None where it is none."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return None
    return name.lower().removesuffix(".") or None

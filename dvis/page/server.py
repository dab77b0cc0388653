"""`dvis view`: a page that reads a store while it is looked at.

A store in, a local server out. It only reads, but for notes where it is told to take them, and its
addresses are numbers and a fixed table of files: no path of an address is ever a path on disk.
"""

import logging
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import zarr
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dvis.kinds.shown import MovedError, NotShownError, ShownPicture, ShownUnits
from dvis.page import documents, lists
from dvis.page.drift_process import DriftError, DriftProcess
from dvis.page.editing import keep_note, keep_note_of_list, text_of
from dvis.page.front import MEDIA_TYPES, assets, html
from dvis.page.guard import WRITTEN_BELOW, Guard
from dvis.page.memory import give_memory_back, import_dask_alone
from dvis.page.plain import as_json
from dvis.schema import SchemaError
from dvis.store.recent import Recent

logger = logging.getLogger(__name__)

_THREADS = 3
_DRAWING = 2  # threads of their own for thumbnails, which wait for no document
_MAX_DOCUMENTS = 8  # kept while the store does not change
_READ_BYTES = 2**18
_FOREVER = "private, max-age=31536000, immutable"
_NEVER = "no-store"
_LAST_PORT, _IDLE_S = 65_535, 60.0  # seconds that a connection may say nothing
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Number(IntegerConvertor):
    """A number of an address that is no longer than numbers of a store can be."""

    regex = "[0-9]{1,9}"


register_url_convertor("number", _Number())


def create_app(shown: ShownUnits, *, host: str = "127.0.0.1", token: str | None = None) -> Guard:
    """The server of a store's units, which listens at a host, and takes notes with a token."""
    return _guarded(_Answers(shown, token), host)


def _guarded(answers: "_Answers", host: str) -> Guard:
    """The addresses of a server, behind the guard."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        with zarr.config.set({"threading.max_workers": _THREADS}):
            yield
        await answers.drifts.close()

    app = Starlette(
        routes=answers.routes(),
        exception_handlers={HTTPException: _refused, Exception: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    is_local = host in _LOOPBACK
    names = (host,) if is_local else (host, socket.gethostname(), socket.getfqdn())
    return Guard(app, names=names, any_address=not is_local, token=answers.token)


def serve(
    store: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    edit: bool = False,
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a store's page until Ctrl-C.

    Parameters
    ----------
    store : str or Path
        A store's folder or URL.
    host : str
        Where to listen. Any but the loopback lets others on the network read the store.
    port : int
        Where to listen; 0 takes a free one.
    edit : bool
        Take notes about units that are written on the page.
    on_start : callable
        Is given the page's address once the server listens.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    ValueError
        When notes are to be written from afar or into a store at a URL, or the port is none.
    OSError
        When the port is taken or the host is none of this machine.
    ImportError
        When uvicorn or jinja2 is not installed.
    """
    if edit and host not in _LOOPBACK:
        raise ValueError(
            f"--edit is for this machine alone, and {host} lets others in: leave --host out"
        )
    if edit and "://" in str(store):
        raise ValueError(f"{store} is read from afar: --edit needs a store on this machine")
    try:
        import uvicorn

        from dvis.page.idle import ending_idle
    except ImportError as err:
        raise ImportError("view needs uvicorn: pip install 'dvis[page]'") from err

    import_dask_alone()
    shown = documents.shown_units(store)
    html(shown, "live")
    shown.warm_up()
    give_memory_back()
    answers = _Answers(shown, secrets.token_urlsafe() if edit else None)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await answers.drifts.close()  # whoever waits for it keeps the server waiting
            await super().shutdown(sockets)

    with listen(host, port) as listening:
        bound = listening.getsockname()[1]
        settings = uvicorn.Config(
            _guarded(answers, host),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=ending_idle(_IDLE_S),
            loop="asyncio",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        name = "localhost" if host in ("0.0.0.0", "::", "") else host
        on_start(f"http://{f'[{name}]' if ':' in name else name}:{bound}/")
        Server(settings).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at a host and port.

    Raises
    ------
    ValueError
        When the port is none.
    OSError
        When the port is taken or the host is none of this machine.
    """
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"port is {port}; give one from 1 to {_LAST_PORT}, or 0 for a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as stack:
            listening = stack.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()  # whoever comes before the server is ready waits
            stack.pop_all()
    except OSError as err:
        raise OSError(
            f"Cannot listen at {host}, port {port}: {err.strerror or err}. Give another --port, or "
            "0 for a free one"
        ) from err
    return listening


class _Answers:
    """What the server answers, by address."""

    def __init__(self, shown: ShownUnits, token: str | None = None) -> None:
        self.shown, self.token = shown, token
        self.drifts = DriftProcess(shown)
        self._files = assets()
        self._documents: Recent[bytes] = Recent(_MAX_DOCUMENTS)
        self._drawing = CapacityLimiter(_DRAWING)
        self._strips = Lock()  # they are large: one at a time

    def routes(self) -> list[Route]:
        """Addresses; every changing part of them is a number or a name in a table."""
        of_layer = "{variant:number}/{layer:number}"
        of_unit = f"{of_layer}/{{channel:number}}"
        at_checkpoint = f"{of_layer}/{{checkpoint:number}}"
        drawn = partial(self.picture, limiter=self._drawing)
        table = {
            "/": self.page,
            "/assets/{name}": self.asset,
            "/api/signature": self.signature,
            "/api/overview": self.document(documents.overview, "overview"),
            "/api/variant/{variant:number}": self.document(documents.variant, "variant"),
            f"/api/layer/{of_layer}": self.document(documents.layer, "layer"),
            f"/api/unit/{of_unit}": self.document(documents.unit, "unit"),
            f"/api/drift/{of_layer}": self.drift,
            f"/pictures/thumbs/{at_checkpoint}/{{block:number}}": drawn(self.shown.thumbs),
            f"/pictures/examples/{at_checkpoint}": drawn(self.shown.examples),
            f"/pictures/strip/{of_unit}": self.strip,
            f"/pictures/image/{of_unit}/{{checkpoint:number}}": self.picture(self.shown.image),
            "/pictures/samples/{set:number}/{sheet:number}": self.samples,
            f"/pictures/numbers/{of_unit}": self.numbers,
            f"/pictures/archive/{of_unit}": self.archive,
            f"/numbers/{of_unit}": self.numbers,
            f"/archive/{of_unit}": self.archive,
        }
        table |= {
            f"/api/{path}": self.document(make, path.partition("/")[0])
            for path, make in documents.BY_NUMBERS.items()
        }
        written = {
            f"{WRITTEN_BELOW}{of_unit}": partial(self.note, keep_note),
            f"{WRITTEN_BELOW}list/{{list:number}}/{{unit:number}}": partial(
                self.note, keep_note_of_list
            ),
        }
        return [
            *(Route(path, endpoint) for path, endpoint in table.items()),
            *(
                Route(path, endpoint, methods=["POST"])
                for path, endpoint in written.items()
                if self.token
            ),
        ]

    async def page(self, _: Request) -> Response:
        """The page itself."""
        content = await self._run(partial(html, self.shown, "live", self.token))
        return Response(content, media_type="text/html", headers={"cache-control": _NEVER})

    async def asset(self, request: Request) -> Response:
        """A file of the front end."""
        path = self._files.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404, "The page has no such file")
        headers = {"cache-control": "no-cache"}
        return Response(path.read_bytes(), media_type=MEDIA_TYPES[path.suffix[1:]], headers=headers)

    async def signature(self, _: Request) -> Response:
        """What changes when the store does."""
        return _json(as_json({"signature": await self._run(self.shown.signature)}))

    def document(self, make: Callable[..., Any], name: str) -> Callable[[Request], Any]:
        """An endpoint that answers with a document."""

        async def endpoint(request: Request) -> Response:
            numbers = tuple(request.path_params.values())

            def content() -> bytes:
                key = self.shown.signature()
                return self._documents.get(
                    (name, *numbers), key, lambda: as_json(make(self.shown, *numbers))
                )

            return _json(await self._run(content))

        return endpoint

    async def note(self, keep: Callable[..., None], request: Request) -> Response:
        """Keep what was written about a unit."""
        text = await text_of(request)
        await self._run(partial(keep, self.shown, text, *request.path_params.values()))
        return _json(as_json({"note": text, "signature": await self._run(self.shown.signature)}))

    async def drift(self, request: Request) -> Response:
        """How far the pictures of a layer move, computed by a process of its own."""
        variant, layer = request.path_params.values()
        version = await self._run(partial(self.shown.version, variant, layer))
        try:
            return _json(await self.drifts.document(variant, layer, version))
        except DriftError as err:
            raise HTTPException(503, str(err)) from err

    def picture(
        self, draw: Callable[..., ShownPicture], limiter: CapacityLimiter | None = None
    ) -> Callable[[Request], Any]:
        """An endpoint that answers with a picture, if it still is what its version says."""

        async def endpoint(request: Request) -> Response:
            drawn = partial(draw, *request.path_params.values(), told=_told(request))
            return _picture(request, await self._run(drawn, limiter))

        return endpoint

    async def samples(self, request: Request) -> Response:
        """A sheet of thumbnails of samples of an image set."""
        draw = partial(lists.samples, self.shown, *request.path_params.values())
        return _picture(request, await self._run(draw, self._drawing))

    async def strip(self, request: Request) -> Response:
        """A unit's pictures of all checkpoints on one sheet."""
        numbers = tuple(request.path_params.values())

        def draw() -> ShownPicture:
            with self._strips:
                return self.shown.strip(*numbers)

        return _picture(request, await self._run(draw))

    async def numbers(self, request: Request) -> Response:
        """A unit's numbers."""
        numbers = tuple(request.path_params.values())
        content = await self._run(partial(self.shown.numbers, *numbers))
        headers = await self._run(partial(self._saved_as, numbers, "csv"))
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    async def archive(self, request: Request) -> Response:
        """A unit's pictures and numbers."""
        numbers = tuple(request.path_params.values())
        content = await self._run(partial(_archived, self.shown, *numbers))
        headers = await self._run(partial(self._saved_as, numbers, "zip"))
        body = iterate_in_threadpool(content)
        return StreamingResponse(body, media_type="application/zip", headers=headers)

    def _saved_as(self, numbers: tuple[int, ...], suffix: str) -> dict[str, str]:
        """Headers of a file that is taken away."""
        name = f"{self.shown.saved_as(*numbers)}.{suffix}"
        return {"cache-control": _NEVER, "content-disposition": f'attachment; filename="{name}"'}

    async def _run(
        self, function: Callable[[], Any], limiter: CapacityLimiter | None = None
    ) -> Any:
        """What a function gives in a thread, or the refusal that fits its error."""
        try:
            return await to_thread.run_sync(function, limiter=limiter)
        except NotShownError as err:
            raise HTTPException(404, str(err)) from err
        except MovedError as err:
            raise HTTPException(409, str(err)) from err
        except (OSError, SchemaError) as err:
            logger.warning("%s", err)
            raise HTTPException(503, f"The store cannot be read just now: {err}") from err
        except (ValueError, RuntimeError, ArithmeticError) as err:  # of damaged numbers and chunks
            text = " ".join(f"{type(err).__name__}: {err}".split())
            logger.warning("the store is damaged (`dvis check` says where): %s", text)
            raise HTTPException(503, f"The store is damaged: {text}") from err


def _archived(shown: ShownUnits, *numbers: int) -> Iterator[bytes]:
    """A unit's archive in pieces, out of a file without a name that lasts as long as they do."""
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        shown.write_archive(file, *numbers)
        file.seek(0)
        kept = stack.pop_all()

    def pieces() -> Iterator[bytes]:
        with kept:
            while piece := file.read(_READ_BYTES):
                yield piece

    return pieces()


def _told(request: Request) -> str:
    """The version of a picture that the page was told of."""
    return request.query_params.get("v", "")


def _picture(request: Request, picture: ShownPicture) -> Response:
    headers = {"cache-control": _FOREVER if _told(request) == picture.version else _NEVER}
    return Response(picture.data, media_type=MEDIA_TYPES[picture.suffix], headers=headers)


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json", headers={"cache-control": _NEVER})


async def _refused(_: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException), "it is the handler of these"
    body = as_json({"error": err.detail})
    headers = {"cache-control": _NEVER, **(err.headers or {})}
    return Response(body, err.status_code, media_type="application/json", headers=headers)


async def _failed(_: Request, err: Exception) -> Response:
    body = as_json({"error": f"{type(err).__name__}: {err}"})
    return Response(body, 500, media_type="application/json")

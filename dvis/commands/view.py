"""The command `view`."""

import webbrowser

from tyro.conf import Positional


def view(
    store: Positional[str],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    edit: bool = False,
) -> int:
    """Show a store in the browser, until Ctrl-C; also one that is still being written.

    Parameters
    ----------
    store
        A store's folder or URL.
    host
        Where to listen. Any but the default lets others on the network read the store.
    port
        Where to listen (default: a free one).
    browser
        Open the page in this machine's browser.
    edit
        Take notes about units that are written on the page (see `dvis note`).
    """
    try:
        from dvis.page.server import serve
    except ModuleNotFoundError as err:
        missing = (err.name or "").partition(".")[0]
        if missing not in ("starlette", "anyio"):
            raise
        raise ImportError(f"view needs {missing}: pip install 'dvis[page]'") from err

    def tell(address: str) -> None:
        print(f"{store}: {address} (Ctrl-C ends it)", flush=True)
        if browser:
            _open_browser(address)

    try:
        serve(store, host=host, port=port, edit=edit, on_start=tell)
    except KeyboardInterrupt:
        print()
    return 0


def _open_browser(address: str) -> None:
    """Open a window; a browser in this terminal would only be in the way."""
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return
    if type(found) is not webbrowser.GenericBrowser:
        found.open(address)

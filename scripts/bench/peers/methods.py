"""The ways of making feature images by name, those that are installed."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import NamedTuple

from peers.ours import render_dvis
from peers.plain import render_plain
from peers.task import Rendered, Task

Render = Callable[[Task], Rendered]


class Peer(NamedTuple):
    """Where a library's function is, and how the library comes to be here."""

    module: str
    function: str
    install: str


OURS: dict[str, Render] = {
    "dvis original": partial(render_dvis, preset="original"),
    "dvis default": partial(render_dvis, preset="default"),
}
LOOPS: dict[str, Render] = {
    "original loop": partial(render_plain, debugging=True),
    "plain loop": render_plain,
}
# Without dependencies where they would replace ours: lucent is pinned to a kornia of 2020.
PEERS = {
    "lucent": Peer(
        "peers.lucent_peer",
        "render_lucent",
        "pip install --no-deps torch-lucent kornia kornia-rs && pip install decorator ipython",
    ),
    "torch-dreams": Peer(
        "peers.torch_dreams_peer",
        "render_torch_dreams",
        "pip install --no-deps torch-dreams && pip install opencv-python-headless",
    ),
    "Horama": Peer(
        "peers.horama_peer",
        "render_horama",
        "pip install --no-deps horama && pip install einops",
    ),
}


def load_peers(*names: str) -> dict[str, Render]:
    """Functions of the peers that are installed; says which are not, and how to install them."""
    found: dict[str, Render] = {}
    for name in names:
        peer = PEERS[name]
        try:
            found[name] = getattr(import_module(peer.module), peer.function)
        except ImportError as error:
            print(f"{name} is not installed ({error}). {peer.install}")
    return found

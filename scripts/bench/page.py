"""How long somebody waits for the page of a store, as the browser itself measures it.

A made-up store in, one table out: first views, steps of the slider, memory of the server. With
`--static` instead what `dvis page` makes of 2,000 units at 100 checkpoints, and how much of it a
browser reads before anything is clicked. It needs chromium and chromedriver, as the tests of the
page do.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import tyro
from jobs import import_tree
from results import Row, at_most, print_machine, print_table, seconds
from trees import make_tree

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from browser import Browser, chromium, server

from dvis.page.static import export_page

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
FIRST_VIEW_S = 2.0
STEP_S = 0.025
JUMP_S = 0.1
MEMORY_MB = 150
FIRST_VIEW_MB = 3
_COLUMNS = ["what", "measured", "wanted", "ratio", "target"]
SETTLE_S = 1.0  # the first second after a view is there does not count
HAND_S = 0.15  # between two steps of a hand

# Move the slider, and say after how many milliseconds the thumbnails of all channels in sight are
# those of the checkpoint, in a frame that was drawn.
_STEP = """
const checkpoint = arguments[0];
const done = arguments[arguments.length - 1];
const slider = document.querySelector('.slider');
const shown = document.querySelector('.grid, .large-frame');
const start = performance.now();
slider.value = checkpoint;
slider.dispatchEvent(new Event('input', {bubbles: true}));
const look = () => {
  const there = shown.dataset.shown ?? shown.dataset.full;
  if (there !== String(checkpoint)) return setTimeout(look, 1);
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start), 0));
};
look();
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How large the store is, and how often each thing is measured."""

    store: Path | None = None
    """A store that is there already, instead of a made-up one."""
    folder: Path | None = None
    """Where a made-up store is to be, and to stay for the next run."""
    checkpoints: int = 100
    channels: int = 64
    size: int = 224
    """Height and width of the images in pixels."""
    repetitions: int = 5
    steps: int = 40
    """Steps of the slider of each kind."""
    static: bool = False
    """Measure a page of files instead: 500 channels of each layer, images of 64 pixels."""


def main(options: Options) -> None:
    """Measure everything and print the table."""
    print_machine()
    if options.static:
        options = replace(options, channels=500, size=64)
    with _workplace(options.folder) as name:
        store = options.store or _made_up(Path(name), options)
        if options.static:
            with chromium(recorded=True) as browser:
                print_table(files_read(browser, store, Path(name) / "page"), _COLUMNS)
            return
        with server(store) as (address, process), chromium() as browser:
            rows = [
                *first_views(browser, address, options.repetitions),
                *slider_steps(browser, address, options.steps),
            ]
            _browse(browser, address)
            rows.append(_memory(process))
    print_table(rows, _COLUMNS)


def files_read(browser: Browser, store: Path, page: Path) -> list[Row]:
    """Bytes of a page of files, and of those that views read."""
    report = export_page(store, page, overwrite=True, progress=True)
    rows = [
        Row(name="whole page", ours=f"{report.n_bytes / 1e6:.0f} MB in {report.n_files} files"),
        Row(name="images", ours=f"{report.n_images}"),
    ]
    for name, fragment, target in (
        ("overview, once it is there", "", FIRST_VIEW_MB),
        ("layer, with sheets for the next steps", LAYERS[1], None),
        ("unit", f"{LAYERS[1]}/5", None),
    ):
        browser.files_read()  # of the view before
        browser.open(f"{report.index.as_uri()}#/{fragment}")
        time.sleep(SETTLE_S)
        sizes = [path.stat().st_size for path in browser.files_read()]
        said = f"{sum(sizes) / 1e6:.2f} MB in {len(sizes)} files"
        ratio = sum(sizes) / 1e6 / FIRST_VIEW_MB
        if target is None:
            rows.append(Row(name=f"read for {name}", ours=said))
        else:
            rows.append(at_most(f"read for {name}", ratio, 1, said, f"{target} MB"))
    return rows


def first_views(browser: Browser, address: str, n_repetitions: int) -> list[Row]:
    """From the address to the view, with an empty cache."""
    rows = []
    for name, fragment in (("overview", ""), ("layer", "layer2"), ("unit", "layer2/5")):
        times = []
        for _ in range(n_repetitions):
            browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
            browser.open(f"{address}#/{fragment}")
            mark = "return performance.getEntriesByName('dvis-view')[0].startTime"
            times.append(browser.js(mark) / 1000)
        rows.append(_waited(f"first view, {name}", times, FIRST_VIEW_S))
    return rows


def slider_steps(browser: Browser, address: str, n_steps: int) -> list[Row]:
    """Steps of the slider once a view has settled: one by one as a hand goes, and far jumps."""
    rng = np.random.default_rng(0)
    rows = []
    for name, fragment in (("64 thumbnails", "layer3"), ("unit", "layer3/5")):
        browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open(f"{address}#/{fragment}")
        last = int(browser.js("return Number(document.querySelector('.slider').max)"))
        time.sleep(SETTLE_S)
        hand = [last - 1 - i for i in range(min(n_steps, last))]
        jumps = rng.permutation(last + 1)[:n_steps].tolist()
        for kind, checkpoints, target in (
            ("step", hand, STEP_S),
            ("jump anywhere", jumps, JUMP_S),
        ):
            rows.append(_waited(f"{name}: {kind}", _steps(browser, checkpoints), target))
    return rows


def _steps(browser: Browser, checkpoints: Sequence[int]) -> list[float]:
    times = []
    for checkpoint in checkpoints:
        time.sleep(HAND_S)
        times.append(browser.driver.execute_async_script(_STEP, checkpoint) / 1000)
    return times


def _browse(browser: Browser, address: str) -> None:
    """Look at every layer at every checkpoint, and at some units."""
    for layer in LAYERS:
        browser.open(f"{address}#/{layer}")
        last = int(browser.js("return Number(document.querySelector('.slider').max)"))
        _steps(browser, range(0, last, 3))
        for channel in (0, 1, 2):
            browser.open(f"{address}#/{layer}/{channel}")


def _memory(process: int) -> Row:
    """Peak memory of the server so far."""
    status = Path(f"/proc/{process}/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1000
    return at_most(
        "server, peak memory", peak_mb / MEMORY_MB, 1, f"{peak_mb:.0f} MB", f"{MEMORY_MB} MB"
    )


def _waited(name: str, times: Sequence[float], target: float) -> Row:
    """A row with the median, and what nine in ten stay below."""
    middle, most = median(times), float(np.quantile(times, 0.9))
    shown = f"{seconds(middle)}, 90 %: {seconds(most)}"
    return at_most(name, middle / target, 1, shown, seconds(target))


def _made_up(folder: Path, options: Options) -> Path:
    """A store of that size, made unless an earlier run left it."""
    root = folder / f"analysis-{options.checkpoints}-{options.channels}-{options.size}px"
    store = root / "store.zarr"
    if not store.exists():
        tree = make_tree(
            root,
            n_checkpoints=options.checkpoints,
            layers=LAYERS,
            n_channels=options.channels,
            size=options.size,
            n_losses=16,
            workers=2,
        )
        import_tree(str(tree), str(store), 2)
    return store


def _workplace(folder: Path | None) -> AbstractContextManager[Path | str]:
    if folder is None:
        return tempfile.TemporaryDirectory(prefix="dvis-bench-")
    folder.mkdir(parents=True, exist_ok=True)
    return nullcontext(folder)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

"""The command `page`."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from dvis.schema import counted


def page(
    store: Positional[str],
    out: Positional[Path] = Path("page"),
    *,
    run: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN ...")] = (),
    layers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...")] = (),
    channels: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (),
    max_images: int | None = None,
    overwrite: bool = False,
) -> int:
    """Write a page that shows a store, as a folder that opens without a server or network.

    Parameters
    ----------
    store
        A store's folder or URL.
    out
        The page's folder; index.html in it is to be opened.
    run
        Training runs (default: all).
    layers
        Layers (default: all).
    channels
        Channels of each layer (default: all that have something).
    max_images
        Feature images at most; where there are more, evenly spread checkpoints are shown.
    overwrite
        Replace a page that is there.
    """
    from dvis.page.static import PagePlan, export_page

    def tell(plan: PagePlan) -> None:
        print(
            f"{counted(plan.n_images, 'image')} of {store}: {counted(len(plan.files), 'file')}, "
            f"about {_size(plan.n_bytes)}",
            flush=True,
        )
        for note in plan.notes:
            print(f"  {note}")

    report = export_page(
        store,
        out,
        runs=run,
        layers=layers,
        channels=channels,
        max_images=max_images,
        overwrite=overwrite,
        progress=True,
        on_plan=tell,
    )
    print(f"{report.index}: {counted(report.n_files, 'file')}, {_size(report.n_bytes)}")
    return 0


def _size(n_bytes: int) -> str:
    megabytes = n_bytes / 1e6
    return f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"

"""`ds.dvis`: the short way from a Dataset to analysis and pictures of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import xarray as xr

from dvis.analysis import inputs
from dvis.views import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = TypeVar("Method", bound=Callable[..., Any])


def _documented_by(function: Callable[..., Any]) -> Callable[[Method], Method]:
    """Give a method the docstring of its function, less the Dataset, which it has."""

    def document(method: Method) -> Method:
        before, _, after = (function.__doc__ or "").partition("    dataset : Dataset\n")
        method.__doc__ = before + after.partition("\n")[2]
        return method

    return document


@xr.register_dataset_accessor("dvis")  # type: ignore[no-untyped-call]  # xarray gives no types
class DvisAccessor:
    """Methods for a Dataset that `dvis.open` gave; each says on what it works when it is called."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @_documented_by(inputs.model_input)
    def model_input(self, checkpoint: str, layer: str, channel: int) -> xr.DataArray:
        return inputs.model_input(self._dataset, checkpoint, layer, channel)

    @_documented_by(plots.trajectory)
    def trajectory(
        self,
        layer: str | Sequence[str] | slice | None = None,
        channel: int | Sequence[int] | slice | None = None,
        *,
        x: plots.XAxis = "checkpoint",
        variable: str = "activation",
        path: str | Path | None = None,
    ) -> "Figure":
        return plots.trajectory(self._dataset, layer, channel, x=x, variable=variable, path=path)

    @_documented_by(plots.timeline)
    def timeline(
        self,
        layer: str | None = None,
        channel: int | None = None,
        *,
        max_images: int = 24,
        path: str | Path | None = None,
    ) -> "Figure":
        return plots.timeline(self._dataset, layer, channel, max_images=max_images, path=path)

    @_documented_by(plots.grid)
    def grid(
        self,
        checkpoint: str | int | None = None,
        layer: str | None = None,
        *,
        channels: Sequence[int] | None = None,
        max_images: int = 64,
        path: str | Path | None = None,
    ) -> "Figure":
        return plots.grid(
            self._dataset, checkpoint, layer, channels=channels, max_images=max_images, path=path
        )

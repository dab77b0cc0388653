"""Which chimeras are made, and on which images they are looked at: options of `dvis chimera`.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass

from dvis.sweep.probing_options import ProbeRunOptions


@dataclass(frozen=True, kw_only=True)
class ChimeraOptions(ProbeRunOptions):
    """Whose chimeras to make, where to cut, and on which images to look at them.

    Give a dataset, images, or noise.

    Parameters
    ----------
    layers
        Layers behind whose outputs the network is cut, by their dotted names.
    to
        Layers whose units are looked at, later than a cut (default: the layers, and the model's
        last).
    final
        Label of the checkpoint that the other part is of (default: the last of those asked for).
    name
        Name of the chimeras in the store (default: from the images).
    """

    to: tuple[str, ...] = ()
    final: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ValueError("no layers given; give those to cut behind, such as layer1 layer2")

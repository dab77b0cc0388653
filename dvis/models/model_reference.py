"""What stands for a model until it is built: a name, or a model that a caller gives from Python.

Free of torch, so that the command line can name the options where torch is absent.
"""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

TIMM, OPEN_CLIP = "timm", "open_clip"


@dataclass(frozen=True, eq=False)
class GivenModel:
    """A model that a caller gives from Python, in place of a name.

    Parameters
    ----------
    name : str
        What a store calls it.
    source : torch.nn.Module or callable
        The model, which is copied and never changed; or what returns one, and is given
        `num_classes` if it takes that.
    """

    name: str
    source: Any  # a torch module, where there is no torch

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[^/\\:<>]*", self.name):
            raise ValueError(
                f"the model is called {self.name!r}, which names no store; give "
                "store='stores/NAME.zarr', whose NAME it then has"
            )

    @classmethod
    def of(cls, source: Any, name: str | None = None) -> "GivenModel":
        """A module or a callable, by its class or function unless another name is given."""
        own = getattr(source, "__name__", type(source).__name__)
        return cls(name or str(own), source)

    def __str__(self) -> str:
        return f"{self.name} (given from Python)"


Model: TypeAlias = str | GivenModel


def model_name(model: Model) -> str:
    """Name of a model for a store's file.

    It is torchvision's own, the factory's function, `timm-` or `open_clip-` and their name, or
    that of a model that is given from Python.

    Examples
    --------
    >>> model_name("resnet18"), model_name("package.networks:small_net")
    ('resnet18', 'small_net')
    >>> model_name("timm:resnet18.a1_in1k")
    'timm-resnet18.a1_in1k'
    """
    if isinstance(model, GivenModel):
        return model.name
    library, _, name = model.partition(":")
    if library in (TIMM, OPEN_CLIP) and name:
        return f"{library}-{name}"
    return re.split(r"[:.]", model)[-1] if ":" in model else model

"""Write the table of the order in which torchvision's classification models execute their layers.

Every model runs once, without numbers, on the meta device: `dvis/store/execution_order.json.gz`
then tells the depth of layers in stores and trees that hold none. Two minutes; run it again when
torchvision has new models.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import torch
import torchvision
from torchvision.models.regnet import BlockParams

from dvis.models.hooks import trace_layers

_TABLE = Path(__file__).parents[1] / "dvis/store/execution_order.json.gz"
_SIDES = {"inception_v3": 299}
_OPTIONS: dict[str, dict[str, Any]] = {
    name: {"init_weights": False} for name in ("inception_v3", "googlenet")
}


def executed(name: str) -> list[str]:
    """Layers of a model in the order of execution, one made of others after the last of them."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, **_OPTIONS.get(name, {})).eval()
        side = _SIDES.get(name, 224)
        outputs = trace_layers(model, torch.zeros(1, 3, side, side))
    return [layer for layer in outputs if layer]


def main() -> None:
    """Trace all models, and write those of the same layers once."""
    of_init = BlockParams.from_init_params

    def on_cpu(*args: Any, **options: Any) -> BlockParams:
        with torch.device("cpu"):  # RegNet reads numbers off tensors while it is made
            return of_init(*args, **options)

    BlockParams.from_init_params = on_cpu
    names = torchvision.models.list_models(module=torchvision.models)
    orders = {name: tuple(executed(name)) for name in names}
    distinct = list(dict.fromkeys(orders.values()))
    table = {
        "torchvision": torchvision.__version__.split("+")[0],
        "models": {name: distinct.index(order) for name, order in orders.items()},
        "layers": distinct,
    }
    text = json.dumps(table, separators=(",", ":"))
    _TABLE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{len(names)} models, {_TABLE.stat().st_size:,} bytes in {_TABLE}")


if __name__ == "__main__":
    main()

"""The file that a study begins with: its steps for a model, with what each option is beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

_MOST_LAYERS = 5


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a new study's file is filled with.

    Attributes
    ----------
    model : str
        The model's name.
    checkpoint_path : sequence of Path
        Its checkpoints.
    layers : sequence of str
        Layers to look at, in the order of execution.
    dataset, data_path : str, Path, optional
        A labelled image set, and where it lies. Without it, steps that need one are left out.
    store : Path
        Where it all goes.
    """

    model: str
    checkpoint_path: Sequence[Path]
    layers: Sequence[str]
    store: Path
    dataset: str | None = None
    data_path: Path | None = None

    def text(self, file: Path) -> str:
        """The file's text; a step that is only offered is a comment."""
        last = self.layers[-2] if len(self.layers) > 1 else self.layers[-1]
        shared = {
            "model": self.model,
            "checkpoint_path": [str(path) for path in self.checkpoint_path],
            "store": str(self.store),
            **({"dataset": self.dataset} if self.dataset else {}),
            **({"data_path": str(self.data_path)} if self.data_path else {}),
        }
        head = yaml.safe_dump(shared, sort_keys=False, default_flow_style=None, width=10_000)
        layers = yaml.safe_dump(list(self.layers), default_flow_style=True, width=10_000).strip()
        steps = [_OF_UNITS, *([_WITH_DATA] if self.dataset else [_WITHOUT_DATA]), _OF_IMAGES]
        body = "".join(steps).format(layers=layers, last=yaml.safe_dump(last).split("\n")[0])
        end = _END.format(page=self.store.with_suffix("").name)
        return _HEAD.format(file=file) + head + _SHARED + body + end


_HEAD = """\
# A study: what is measured of a run, step by step. Options are those of the commands, by their
# names; `dvis COMMAND --help` tells them all, and what is left out is the command's default.
#
#     dvis study plan {file}    # what there is to make, its bytes and its time; writes nothing
#     dvis study run {file}     # makes what is missing; run again, it goes on

# Options of every step that has them.
"""
_SHARED = """\
# workers: 4              # processes on this machine (default: one for each core on a CPU)
# scheduler: tcp://node7:8786   # a dask scheduler, on whose workers to compute
# device: cuda

steps:
"""
_OF_UNITS = """\
  # Feature images: what drives each unit most, at each checkpoint.
  - visualize:
      layers: {layers}
      channels: [0, 1, 2, 3, 4, 5, 6, 7]   # leave out and say `all: true` for every one
      # max_iterations: 512
"""
_WITH_DATA = """\
  # How each unit answers to images of the set.
  - respond:
      layers: {layers}
      n_images: 200
      name: images
  # What can be read off each layer, and when.
  - probe:
      layers: {layers}
      n_images: 1000
      name: classes
  # Activations of one layer, and sparse autoencoders of them.
  - activations:
      layers: [{last}]
      n_images: 1000
      keep: [values, "top:16"]
      name: images
  - sae train:
      layer: {last}
      checkpoints: all
      k: 16
      expansion: 4
      tokens: 1M
      warm_start: true
      name: latents
  - sae evaluate:
      layer: {last}
      name: latents
      controls: true
  # The local learning coefficient, with two localisations.
  - llc estimate:
      gamma: [100, 300]
      draws: auto
  # Which channels of a layer act on which of the layers behind it.
  - influence:
      layers: {layers}
      n_images: 32
      name: images
  # - attributes:          # whether layers tell drawn pairs apart, and whether the output uses it
  #     layers: {layers}
  # - sizes:               # how much of the image moves each unit
  #     layers: {layers}
  #     n_images: 16
"""
_WITHOUT_DATA = """\
  # How each unit answers to noise; give a labelled image set (dataset, data_path) for images,
  # probes, activations, autoencoders, the local learning coefficient and influence.
  - respond:
      layers: {layers}
      noise: 64
      name: noise
"""
_OF_IMAGES = """\
  # How each unit answers to the feature images of all checkpoints.
  - respond:
      dataset: null
      feature_images: all
      layers: {layers}
      name: crossed
"""
_END = """\
  # To read, and to send.
  - report:
      out: {page}_report.html
  - page:
      out: {page}_page
      overwrite: true
"""


def evenly_chosen(names: Sequence[str]) -> list[str]:
    """The outermost blocks of a model, or some of them: the first and the last among them."""
    depth = min((name.count(".") for name in names), default=0)
    outer = [name for name in names if name.count(".") == depth] or list(names)
    if len(outer) <= _MOST_LAYERS:
        return outer
    last = len(outer) - 1
    places = {round(i * last / (_MOST_LAYERS - 1)) for i in range(_MOST_LAYERS)}
    return [outer[place] for place in sorted(places)]

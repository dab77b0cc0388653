"""Which autoencoders of a store are trained and evaluated: the options, free of torch."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Annotated, get_args

import tyro
from tyro.conf import Positional

from dvis.kinds.activations.words import Split
from dvis.kinds.saes.options import (
    SaeOptions,
    SaeRecipe,
    Score,
    TrackMethod,
    steps_of,
)
from dvis.models.model_reference import Model
from dvis.models.option_numbers import at_least, bounded
from dvis.schema import did_you_mean

_ROWS = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[kMG]?)")
BATCH_SIZE = 4096
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SaeRecipe):
    """Which autoencoders to train, on which activations of a store.

    With several of k, expansion or seeds, all combinations are trained over the same rows.

    Parameters
    ----------
    store
        A store's folder, with activations of the layer.
    layer
        Whose activations.
    activations
        Their name, where the layer has several (see `dvis activations`).
    run
        The training run (default: the store's).
    checkpoints
        At which checkpoints: labels, all, or last.
    k
        Active latents a row, for topk and batchtopk.
    expansion
        Latents for each channel.
    seeds
        Of the starts.
    tokens
        Rows to train on, such as 50M; those of the activations come again and again.
    batch_size
        Rows of a step (default: 4096, or all where there are fewer).
    log_every
        Steps that a point of the log covers.
    save_every
        Steps between two saves of the training state.
    device
        Where they are trained: cpu, or an accelerator such as cuda, cuda:1 or mps. Training that
        was killed goes on on any.
    warm_start
        Start at each checkpoint from the autoencoder of the last one before that has one, also of
        an earlier call, so that latents keep their numbers.
    name
        Name of the autoencoders (default: from the kind, k, expansion and seed).
    overwrite
        Train again what is there of other options and, with warm_start, what did not start from
        the checkpoint before.
    """

    store: Positional[Path]
    layer: str
    activations: str | None = None
    run: str | None = None
    checkpoints: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--checkpoint"])] = ("last",)
    k: tuple[int, ...] = (32,)
    expansion: tuple[float, ...] = (8.0,)
    seeds: tuple[int, ...] = (0,)
    tokens: str = "10M"
    batch_size: int | None = None
    log_every: int = 100
    save_every: int = 1000
    device: str = "cpu"
    warm_start: bool = False
    name: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("k", "expansion", "seeds", "checkpoints"):
            if not getattr(self, name):
                raise ValueError(f"no {name} given; give one or more")
        at_least("batch_size", self.batch_size, 1)
        rows_of(self.tokens)
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}; give one without a slash, such as wide")

    @property
    def n_steps(self) -> int:
        """Steps of the training."""
        return steps_of(rows_of(self.tokens), self.batch_size or BATCH_SIZE)

    def autoencoders(self) -> Iterator[tuple[str, SaeOptions]]:
        """Name and options of each autoencoder."""
        shared = {each.name: getattr(self, each.name) for each in fields(SaeRecipe)}
        kind = f"{self.kind}-matryoshka" if self.matryoshka else self.kind
        for k, expansion, seed in product(self.k, self.expansion, self.seeds):
            options = SaeOptions(k=k, expansion=expansion, seed=seed, **shared)
            parts = [
                (f"k{k}", self.name is None or len(self.k) > 1),
                (f"x{expansion:g}", self.name is None or len(self.expansion) > 1),
                (f"seed{seed}", len(self.seeds) > 1),
            ]
            said = [part for part, is_said in parts if is_said]
            yield "-".join([self.name or kind, *said]), options


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to find out of trained autoencoders and their latents.

    Parameters
    ----------
    store
        A store's folder.
    layer
        Whose activations they are of.
    name
        Their name, where the layer has several.
    run
        Their run (default: the store's).
    checkpoints
        At which checkpoints: labels, all, or last.
    split
        On which samples: held_out, one in ten, which training never saw; train; or all.
    n_top
        Images of highest score that are kept of each latent.
    scores
        How codes of an image's tokens make its score: max, mean, sum, or cls, the class token's.
    class_token
        Place of the class token among the tokens that are kept, for cls.
    n_shuffles
        Shuffles of the labels, beside which class statistics and single latents stand.
    probes
        Where samples have labels, train linear probes of their classes on the training split, and
        score them on what is held out: of rows, of reconstructions, of codes, of single latents.
    controls
        Train autoencoders alike that cannot learn as much, and say how well they reconstruct: of
        random directions, frozen weights, another seed.
    untrained
        Another run of the store, or a checkpoint of this one (first: its first), at which the
        network was not trained, with activations of the layer: a further control, trained alike on
        those.
    model
        The model, as `dvis activations` takes it: what reconstructions and single latents do to its
        output, and whether a latent's images look alike to it.
    checkpoint_path
        Its checkpoint files, or folders of them (default: torchvision's pretrained weights).
    weights_key
        Which weights of a checkpoint's file are meant, where several fit the model.
    dataset
        The image set that the activations are of (default: as they were made of it).
    data_path
        Where it lies now (default: where it lay then).
    device
        Where the model runs and controls are trained: cpu, or an accelerator such as cuda.
    n_effects
        Latents whose effect on the logits is measured, those that fire most (default: one for eight
        samples, which takes as long as the losses); 0 for none.
    embeddings
        A file of numpy, (sample, feature), of all samples of the set in their order, by which a
        latent's images look alike (default: what the model's own last layer takes).
    overwrite
        Evaluate again what is there of another split or other numbers, and again what is asked for
        of controls and of the model.
    """

    store: Positional[Path]
    layer: str
    name: str | None = None
    run: str | None = None
    checkpoints: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--checkpoint"])] = ("all",)
    split: Split = "held_out"
    n_top: int = 16
    scores: tuple[Score, ...] = ("max",)
    class_token: int | None = None
    n_shuffles: int = 20
    probes: bool = True
    controls: bool = False
    untrained: str | None = None
    model: Annotated[Model | None, tyro.conf.arg(constructor=str)] = None
    checkpoint_path: Annotated[
        tuple[Path, ...] | Mapping[str, Path] | None,
        tyro.conf.arg(constructor=tuple[Path, ...] | None),
    ] = None
    weights_key: str | None = None
    dataset: str | None = None
    data_path: Path | None = None
    device: str = "cpu"
    n_effects: int | None = None
    embeddings: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        bounded(self)
        for name in ("n_top", "n_shuffles"):
            at_least(name, getattr(self, name), 1)
        at_least("n_effects", self.n_effects, 0)
        if self.untrained is not None and not self.controls:
            raise ValueError("untrained is one more of the controls; ask for --controls too")
        of_model = ("checkpoint_path", "weights_key", "dataset", "data_path", "n_effects")
        for name in of_model if self.model is None else ():
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is given without a model; give --model too")
        if not self.scores or not self.checkpoints:
            raise ValueError("no scores or no checkpoints given; give one or more of both")


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Which latents are one over checkpoints, by which method, and how well two seeds agree.

    Parameters
    ----------
    store
        A store's folder, with autoencoders of the layer and the activations that they are of.
    layer
        Whose activations they are of.
    name
        Their name, where the layer has several.
    run
        Their run (default: the store's).
    method
        warm: latents keep their numbers, as of `dvis sae train --warm-start`; match: autoencoders
        that were trained apart, latents matched by the correlation of their codes; shared: one
        autoencoder for all checkpoints; cross: a crosscoder, one code for a row at all checkpoints.
        The last two are trained now, on as many rows of each checkpoint as the autoencoders were.
    checkpoints
        Which checkpoints, two or more: labels, or all.
    split
        On which samples latents are held against each other: held_out, one in ten, which training
        never saw; train; or all.
    level
        Share of pairs of different latents that the threshold of a link lets pass.
    controls
        Where there is none, train a second seed alike, beside which tracks stand.
    second
        Name of the second seed (default: the one that was trained alike, if there is one).
    k
        Active latents a row of shared and cross (default: as many as theirs). A code of cross is
        one for all checkpoints, so that a row may need more.
    expansion
        Latents of shared and cross for each channel (default: as many latents as theirs).
    tokens
        Rows to train shared and cross on, such as 50M.
    device
        Where what is missing is trained: cpu, or an accelerator such as cuda.
    overwrite
        Track again what was tracked of other autoencoders, checkpoints or samples.
    """

    store: Positional[Path]
    layer: str
    name: str | None = None
    run: str | None = None
    method: TrackMethod = "warm"
    checkpoints: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--checkpoint"])] = ("all",)
    split: Split = "held_out"
    level: float = 0.05
    controls: bool = False
    second: str | None = None
    k: int | None = None
    expansion: float | None = None
    tokens: str | None = None
    device: str = "cpu"
    overwrite: bool = False

    def __post_init__(self) -> None:
        bounded(self)
        if self.method not in get_args(TrackMethod):
            raise ValueError(did_you_mean("method", self.method, get_args(TrackMethod), "tracking"))
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}; give a share above 0 and below 1")
        if not self.checkpoints:
            raise ValueError("no checkpoints given; give two or more, or all")
        at_least("k", self.k, 1)
        if self.expansion is not None and not self.expansion > 0:
            raise ValueError(f"expansion is {self.expansion}; give a number above 0")
        if self.tokens is not None:
            rows_of(self.tokens)
        if not self.is_trained:
            for name in ("k", "expansion", "tokens"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is of --method shared or cross, which train; {self.method} tracks "
                        "autoencoders as they are"
                    )
        elif self.second is not None:
            raise ValueError(
                f"second is of --method warm or match; {self.method} trains its own with --controls"
            )

    @property
    def is_trained(self) -> bool:
        """Whether the method trains a dictionary for all checkpoints."""
        return self.method in ("shared", "cross")


def rows_of(text: str) -> int:
    """Rows that a text such as 50M means.

    Raises
    ------
    ValueError
        When it means none.

    Examples
    --------
    >>> rows_of("50M"), rows_of("300"), rows_of("1.5k")
    (50000000, 300, 1500)
    """
    match = _ROWS.fullmatch(text.strip())
    n_rows = int(float(match["number"]) * _UNITS[match["unit"]]) if match else 0
    if n_rows < 1:
        raise ValueError(f"tokens is {text!r}; give a number of rows, such as 300k or 50M")
    return n_rows

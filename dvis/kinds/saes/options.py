"""What a sparse autoencoder is, and how long it trains: options, free of torch."""

import math
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from dvis.models.option_numbers import at_least, bounded, is_number

SaeKind = Literal["batchtopk", "topk", "relu", "jumprelu"]
Select = Literal["exact", "sampled"]
Frozen = Literal["nothing", "encoder", "decoder"]
Score = Literal["max", "mean", "sum", "cls"]
TrackMethod = Literal["warm", "match", "shared", "cross"]
ChainOn = Literal["decoder", "codes"]

MATRYOSHKA_FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_REFERENCE_RATE, _REFERENCE_WIDTH = 2e-4, 16384  # arXiv 2406.04093, section 3
_LONGEST_DEAD_WINDOW = 10_000_000  # tokens, arXiv 2406.04093, appendix A.2
_DEAD_SHARE = 0.2
_FIRST_PRESSURE = 1e-4  # sparse from the start, codes would die before directions are found


@dataclass(frozen=True, kw_only=True)
class SaeRecipe:
    """How codes are made sparse and how weights are moved: what many autoencoders share.

    Parameters
    ----------
    kind
        How codes are made sparse: `batchtopk` (the k largest a row on average over a batch), `topk`
        (of each row), `relu` (an L1 penalty), `jumprelu` (a learned threshold a latent).
    matryoshka
        Also reconstruct from the first 1/16, 1/8, 1/4 and 1/2 of the latents; one top-k for all.
    l1
        Weight of the sum of a row's codes beside the unexplained share of variance, for relu. Codes
        are in units of the rows' root mean square distance from their mean, so that the weight
        does not depend on the scale of the rows; a weight of codes as they are, times that
        distance, is this one.
    target_l0
        Active latents a row that jumprelu is held to (default: k).
    l0_weight
        Weight of the squared relative distance from `target_l0`, for jumprelu; it grows to this
        over all steps before the decay.
    n_latents
        Latents (default: of the expansion).
    learning_rate
        Of Adam, after warm-up (default: 2e-4 / sqrt(n_latents / 16384)).
    warmup
        Share of the steps over which the rate rises from 0.
    decay
        Share of the steps, the last ones, over which it falls to 0.
    clip
        Largest norm of all gradients together; 0 for none.
    unit_rows
        Hold each decoder row at length 1.
    remove_parallel
        Take out of the decoder's gradient what points along its rows.
    aux_k
        Dead latents a row that learn the residual (default: half the channels); 0 for none.
    aux_weight
        Weight of that loss.
    resample
        Put dead latents on rows that are reconstructed worst, once every dead window. Where
        latents are few, this with a dead window of a twentieth of the run finds more.
    data_point_init
        Start decoder rows near rows of the data, rather than in random directions.
    decoder_bias
        Learn a bias of the reconstruction; without one it is zero, as SAEs on decoders need.
    freeze
        Weights that stay as they started: a control.
    dead_window
        Rows without firing after which a latent is dead (default: 10 million or a fifth
        of the run, whichever is less).
    select
        Whether batchtopk's threshold is that of the whole batch, or of a sixteenth of it.
    """

    kind: SaeKind = "batchtopk"
    matryoshka: bool = False
    l1: float = 0.1
    target_l0: float | None = None
    l0_weight: float = 1.0
    n_latents: int | None = None
    learning_rate: float | None = None
    warmup: float = 0.05
    decay: float = 0.2
    clip: float = 1.0
    unit_rows: bool = True
    remove_parallel: bool = True
    aux_k: int | None = None
    aux_weight: float = 1 / 32
    resample: bool = False
    data_point_init: bool = True
    decoder_bias: bool = True
    freeze: Frozen = "nothing"
    dead_window: int | None = None
    select: Select = "exact"

    def __post_init__(self) -> None:
        bounded(self)
        _one_of("kind", self.kind, get_args(SaeKind))
        _one_of("select", self.select, get_args(Select))
        _one_of("freeze", self.freeze, get_args(Frozen))
        for name in ("n_latents", "dead_window"):
            at_least(name, getattr(self, name), 1)
        at_least("aux_k", self.aux_k, 0)
        for name in ("learning_rate", "target_l0"):
            _number(name, getattr(self, name), least=0, is_open=True)
        for name in ("l1", "l0_weight", "clip", "aux_weight"):
            _number(name, getattr(self, name), least=0)
        for name in ("warmup", "decay"):
            _number(name, getattr(self, name), least=0, most=1)
        if self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup {self.warmup} and decay {self.decay} are shares of the steps and make "
                "more than 1 together; lower one"
            )


@dataclass(frozen=True, kw_only=True)
class SaeOptions(SaeRecipe):
    """One sparse autoencoder: its shape, its rule of sparsity, how its weights are moved.

    Parameters
    ----------
    k
        Active latents a row, for topk and batchtopk.
    expansion
        Latents for each channel.
    seed
        Of the start.
    """

    k: int = 32
    expansion: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("k", self.k, 1)
        at_least("seed", self.seed, 0)
        _number("expansion", self.expansion, least=0, is_open=True)

    def width(self, n_channels: int) -> int:
        """Latents over a layer of so many channels.

        Raises
        ------
        ValueError
            When they are fewer than k.
        """
        n_latents = self.n_latents or round(self.expansion * n_channels)
        if self.kind in ("topk", "batchtopk") and self.k > n_latents:
            raise ValueError(
                f"k is {self.k}, but there are {n_latents} latents over {n_channels} channels; "
                f"give k of at most {n_latents}, or more latents"
            )
        if n_latents < n_channels:
            warnings.warn(
                f"{n_latents} latents for {n_channels} channels: an expansion below 1 cannot even "
                "hold one latent a channel. Give expansion 1 or more",
                stacklevel=3,
            )
        return n_latents

    def rate(self, n_latents: int) -> float:
        """Highest learning rate, for so many latents."""
        if self.learning_rate is not None:
            return self.learning_rate
        return _REFERENCE_RATE / math.sqrt(n_latents / _REFERENCE_WIDTH)

    def rate_at(self, step: int, n_steps: int, n_latents: int) -> float:
        """Learning rate of a step, counted from 0, of a run."""
        rising = (step + 1) / max(1.0, self.warmup * n_steps)
        falling = (n_steps - step) / max(1.0, self.decay * n_steps)
        return self.rate(n_latents) * min(1.0, rising, falling)

    def pressure_at(self, step: int, n_steps: int) -> float:
        """Share of its weight that jumprelu's penalty has at a step: it grows until the decay."""
        rising = (1 - self.decay) * n_steps
        share = min(1.0, (step + 1) / rising) if rising else 1.0
        return float(_FIRST_PRESSURE ** (1 - share))

    def rows_until_dead(self, n_rows: int) -> int:
        """Rows without firing after which a latent is dead, in a run over so many rows."""
        if self.dead_window is not None:
            return self.dead_window
        return max(1, min(_LONGEST_DEAD_WINDOW, round(_DEAD_SHARE * n_rows)))

    def prefixes(self, n_latents: int) -> tuple[int, ...]:
        """Numbers of first latents from which a row is reconstructed; the last is all."""
        if not self.matryoshka:
            return (n_latents,)
        return tuple(sorted({max(1, round(f * n_latents)) for f in MATRYOSHKA_FRACTIONS}))


@dataclass(frozen=True, kw_only=True)
class PassOptions:
    """One pass over the data, which all autoencoders of it share.

    Parameters
    ----------
    n_steps
        Batches.
    log_every
        Steps that a point of the log covers.
    save_every
        Steps between two saves of the whole training state.
    device
        Where steps are taken: `cpu`, with sparse steps, or an accelerator, with dense ones.
    progress
        Show a bar.
    """

    n_steps: int = 10_000
    log_every: int = 100
    save_every: int = 1_000
    device: str = "cpu"
    progress: bool = False

    def __post_init__(self) -> None:
        bounded(self)
        for name in ("n_steps", "log_every", "save_every"):
            at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class ChainRecipe:
    """A chain of autoencoders, each trained on the one above it.

    Parameters
    ----------
    on
        What of the level above a level is trained on: `decoder`, its rows, or `codes`, those of the
        activations' rows.
    widths
        Latents of each level, from the one below the autoencoder itself.
    k
        Active latents a row, on average over a batch.
    n_steps, batch_size
        Length of each level's training, and rows of a step; all, where there are fewer.
    decoder_bias
        Learn a bias of reconstructions. With one, atoms are free up to a common shift that the bias
        takes up: rows are explained and no atom is found.
    """

    on: ChainOn
    widths: tuple[int, ...]
    k: int = 4
    n_steps: int = 1500
    batch_size: int = 256
    decoder_bias: bool = False

    def __post_init__(self) -> None:
        bounded(self)
        _one_of("on", self.on, get_args(ChainOn))
        for name in ("k", "n_steps", "batch_size"):
            at_least(name, getattr(self, name), 1)
        if not self.widths:
            raise ValueError("no widths given; give the latents of one level or more, such as 64")
        for depth, width in enumerate(self.widths, 1):
            if width < self.k:
                raise ValueError(
                    f"level {depth} would have {width} latents, but k is {self.k}; give fewer "
                    "levels, wider ones, or a lower k"
                )

    def check_width(self, n_latents: int) -> None:
        """Refuse a first level that would have as many latents as rows.

        Raises
        ------
        ValueError
            When it would.
        """
        for depth, (above, width) in enumerate(pairwise((n_latents, *self.widths)), 1):
            if self.on == "decoder" and width >= above:
                raise ValueError(
                    f"level {depth} would have {width} latents for the {above} decoder rows above, "
                    "of which each would be its own; give fewer, such as a quarter"
                )

    def options(self, depth: int, seed: int) -> SaeOptions:
        """Those of a level's autoencoder; levels are counted from 1."""
        return SaeOptions(
            k=self.k,
            n_latents=self.widths[depth - 1],
            seed=seed,
            decoder_bias=self.decoder_bias,
        )


def widths_divided(n_latents: int, depth: int, divide_by: float) -> tuple[int, ...]:
    """Latents of so many levels, each so many times fewer than the one above.

    Examples
    --------
    >>> widths_divided(256, 3, 4)
    (64, 16, 4)
    """
    return tuple(int(n_latents / divide_by**level) for level in range(1, depth + 1))


def steps_of(tokens: int, batch_size: int) -> int:
    """Batches that so many tokens make, the last one whole.

    Raises
    ------
    ValueError
        When either is below 1.

    Examples
    --------
    >>> steps_of(1_000, 256)
    4
    """
    at_least("tokens", tokens, 1)
    at_least("batch_size", batch_size, 1)
    return math.ceil(tokens / batch_size)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(allowed)}")


def _number(
    name: str,
    value: float | None,
    *,
    least: float,
    most: float = math.inf,
    is_open: bool = False,
) -> None:
    if value is None:
        return
    if is_number(value):
        is_enough = value > least if is_open else value >= least
        if is_enough and value <= most and value < math.inf:
            return
    wanted = f"above {least:g}" if is_open else f"of {least:g} or more"
    limit = "" if most == math.inf else f", at most {most:g}"
    raise ValueError(f"{name} is {value!r}; give a number {wanted}{limit}")

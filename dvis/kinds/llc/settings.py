"""How chains are sampled, and what can become of one: free of torch, as readers are."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dvis.kinds.llc.words import PRECONDITIONER
from dvis.models.option_numbers import at_least, bounded, is_number

NBetaRule = Literal["batch", "n"]
Method = Literal["sgld", "rmsprop"]
Mode = Literal["eval", "batch", "recalibrate"]

# Of a mode of curvature h, with a = nbeta h + gamma, Euler's step makes the variance too large by
# 1 / (1 - epsilon a / 4): by 11 % at the bound, without limit at ten times the bound.
_LARGEST_STEP = 0.4
# RMSprop divides steps by the root of the mean square gradient, of so many steps, plus this.
RMSPROP_STABILITY = 0.1
RMSPROP_STEPS = 100
_PRECONDITIONERS = {"rmsprop": {PRECONDITIONER: f"first {RMSPROP_STEPS} gradients"}}
AUTO: Literal["auto"] = "auto"
LEAST_AUTO_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class ChainSettings:
    """How the chains of one estimate are sampled.

    Parameters
    ----------
    nbeta : {"batch", "n"} or float
        Inverse temperature times number of samples: b / log(b) of the batch size b, n / log(n) of
        the number of samples n (Watanabe's, 2013), or a number.
    draws : int or "auto"
        Steps to be averaged. Of `auto`, five relaxation times of the pull, 2 / (epsilon gamma), at
        the smallest epsilon and gamma, and two as burn-in, for chains to be settled; no fewer than
        200, nor than the burn-in that is given.
    burn_in : int
        Steps before them. All are kept: the burn-in is chosen again when reading.
    max_steps : int
        Steps of a chain that `auto` may take at most, burn-in included; where chains would need
        more, their LLCs are not settled, and are marked so.
    batch_size : int
        Samples in a minibatch; all of them where there are fewer.
    method : {"sgld", "rmsprop"}
        Langevin dynamics, or dynamics preconditioned by the root of the mean square gradient of the
        first 100 steps. RMSprop proper, which goes on adapting without the term of the
        preconditioner's own derivative, made LLCs of quadratic losses 8 to 98 % too high.
    mode : {"eval", "batch", "recalibrate"}
        Batch norm: with the stored statistics, with those of each minibatch, or with statistics
        that are computed anew over the sampled set first. Dropout is off in each.
    seed : int
        Seed of noise and minibatches.
    diagnostics_every : int
        At every such step keep distance and norms, and compute the acceptance probability, which
        costs one more forward and backward pass; 0 never does.
    n_curvature_iterations : int
        Products with the Hessian for the largest curvature of each checkpoint, of which
        `epsilon="auto"` is found; each costs some forward and backward passes over 64 samples. 0
        leaves the curvature out.
    """

    nbeta: NBetaRule | float = "batch"
    draws: int | Literal["auto"] = LEAST_AUTO_DRAWS
    burn_in: int = 200
    max_steps: int = 20_000
    batch_size: int = 64
    method: Method = "sgld"
    mode: Mode = "eval"
    seed: int = 0
    diagnostics_every: int = 20
    n_curvature_iterations: int = 10

    def __post_init__(self) -> None:
        bounded(self)
        for name, least in (
            ("draws", 1),
            ("burn_in", 0),
            ("max_steps", 2),
            ("batch_size", 1),
            ("seed", 0),
            ("diagnostics_every", 0),
            ("n_curvature_iterations", 0),
        ):
            words = [AUTO] if name == "draws" else []
            at_least(name, getattr(self, name), least, words=words, is_needed=True)
        for name, choices in (("method", get_args(Method)), ("mode", get_args(Mode))):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; give one of {', '.join(choices)}")
        if self.draws == AUTO and self.method == "rmsprop":
            raise ValueError(
                "draws is 'auto', which needs the relaxation time of the pull; that of rmsprop is "
                "known only once it has run. Give a number of draws, or --method sgld"
            )
        self._check_nbeta()

    def _check_nbeta(self) -> None:
        if isinstance(self.nbeta, str):
            if self.nbeta not in get_args(NBetaRule):
                raise ValueError(f"nbeta is {self.nbeta!r}; give batch, n, or a number above 0")
        elif not is_number(self.nbeta):
            raise ValueError(f"nbeta is {self.nbeta!r}; give batch, n, or a number above 0")
        elif not (math.isfinite(self.nbeta) and self.nbeta > 0):
            raise ValueError(f"nbeta is {self.nbeta}; it must be finite and above 0")

    @property
    def n_steps(self) -> int:
        """Steps of a chain, burn-in included."""
        if isinstance(self.draws, str):
            raise ValueError("how many draws 'auto' takes follows from epsilon and gamma")
        return self.burn_in + self.draws

    @property
    def nbeta_rule(self) -> str:
        """`batch`, `n`, or `given` where nbeta is a number."""
        return self.nbeta if isinstance(self.nbeta, str) else "given"

    def resolve_nbeta(self, n_samples: int) -> float:
        """The number that nbeta stands for with so many samples.

        Raises
        ------
        ValueError
            When the rule gives none, of one sample.
        """
        if not isinstance(self.nbeta, str):
            return float(self.nbeta)
        size = min(self.batch_size, n_samples) if self.nbeta == "batch" else n_samples
        if size < 2:
            raise ValueError(
                f"nbeta of the rule {self.nbeta!r} is size / log(size), which {size} samples do "
                "not have; take more, or give nbeta as a number"
            )
        return size / math.log(size)

    def attributes(self, n_samples: int) -> dict[str, Any]:
        """What a store keeps of these settings: what numbers of one group must share."""
        return {
            "batch_size": self.batch_size,
            "nbeta": self.resolve_nbeta(n_samples),
            "nbeta_rule": self.nbeta_rule,
            "method": self.method,
            "mode": self.mode,
            "seed": self.seed,
            **_PRECONDITIONERS.get(self.method, {}),
        }


def epsilon_bound(nbeta: float, hmax: float, gamma: float, method: Method = "sgld") -> float:
    """Largest step size at which the stiffest weights are sampled well: 0.4 / (nbeta hmax + gamma).

    On a direction of curvature h, with a = nbeta h + gamma, SGLD samples a variance too large by
    the factor 1 / (1 - epsilon a / 4), which is 11 % at this bound, and diverges at epsilon a = 4.
    RMSprop multiplies steps by up to 10 where gradients are small, so its bound is a tenth.

    Parameters
    ----------
    nbeta : float
        Inverse temperature times number of samples.
    hmax : float
        Largest curvature of the mean loss; a negative one counts as 0.
    gamma : float
        Strength of localisation.
    method : {"sgld", "rmsprop"}
        Step rule.

    Raises
    ------
    ValueError
        When there is no bound: neither curvature nor localisation, or one that is not finite.

    Examples
    --------
    >>> epsilon_bound(nbeta=10.0, hmax=30.0, gamma=100.0)
    0.001
    """
    stiffness = nbeta * max(hmax, 0.0) + gamma
    if not (math.isfinite(hmax) and stiffness > 0):
        raise ValueError(
            f"no step size follows from a largest curvature of {hmax} and gamma {gamma}; give "
            "epsilon as a number"
        )
    bound = _LARGEST_STEP / stiffness
    return bound * RMSPROP_STABILITY if method == "rmsprop" else bound

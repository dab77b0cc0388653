"""Made-up influence and births without an association, each with a confound that real runs have.

A seed in, influence and births out; and what the tests of assembly find in many of them. Used by
tests, for few seeds, and by `scripts/bench/levels_influence.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dvis.kinds.influence.analysis.asked import Asked
from dvis.kinds.influence.analysis.assembly import scores_of
from dvis.kinds.influence.analysis.association import Null
from dvis.kinds.influence.analysis.claims import CLAIMS
from dvis.kinds.influence.analysis.exchange import pooled
from dvis.kinds.influence.analysis.top_edges import top_edges
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO, PAIR_DIMS
from dvis.schema import CHANNEL, CHECKPOINT, LAYER

T = 12  # checkpoints
WIDTHS = (20, 24, 28)


@dataclass(frozen=True, kw_only=True)
class World:
    """How influence and births come about.

    Parameters
    ----------
    widths : tuple of int
        Channels of each layer.
    n_checkpoints : int
        Of the run.
    early_hubs : float
        How much earlier hubs are born, in standard deviations of births.
    late_fans : float
        How much later targets of much influence are born.
    together : float
        Planted: log strength falls by so many for each standard deviation of births' distance.
    one_way : float
        Planted: what is stronger where the source is born before the target, beside hubs.
    zeros : float
        Share of strengths that are 0, the weakest.
    uneven : float
        How much noisier the edges of hubs are.
    dead : float
        Share of units that were never born.
    spacing : float
        Births in even steps where 1; log-spaced checkpoints where larger.
    edges : str
        When edges become what they are at the end: "any time"; "with source", "with target", at
        times that a unit's edges share, whatever its birth; "hubs early"; "gain of source", "gain
        of target", where all edges of a unit grow at its birth; "top with target", planted.
    """

    widths: tuple[int, ...] = WIDTHS
    n_checkpoints: int = T
    early_hubs: float = 0.0
    late_fans: float = 0.0
    together: float = 0.0
    one_way: float = 0.0
    zeros: float = 0.0
    uneven: float = 0.0
    dead: float = 0.0
    spacing: float = 1.0
    edges: str = "any time"

    def made(self, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
        """Influence and births."""
        rng = np.random.default_rng(seed)
        hubs = [rng.normal(size=n) for n in self.widths]
        fans = [rng.normal(size=n) for n in self.widths]
        when = [self._when(rng, *each) for each in zip(hubs, fans, strict=True)]
        n, widest = len(self.widths), max(self.widths)
        strength = np.full((self.n_checkpoints, n, widest, n, widest), np.nan)
        for i in range(n):
            for j in range(i + 1, n):
                block = self._between(rng, hubs[i], fans[j], when[i], when[j])
                strength[:, i, : self.widths[i], j, : self.widths[j]] = block
        return self._influence(strength), self._births(rng, when)

    def hubs(self, seed: int) -> list[np.ndarray]:
        """How much each unit of each layer influences all others: what `made` draws first."""
        rng = np.random.default_rng(seed)
        return [rng.normal(size=n) for n in self.widths]

    def _when(self, rng: np.random.Generator, hub: np.ndarray, fan: np.ndarray) -> np.ndarray:
        """Times of births, between 0 and 1."""
        time = rng.normal(size=len(hub)) - self.early_hubs * hub + self.late_fans * fan
        even = 0.5 + time / (5 * np.sqrt(1 + self.early_hubs**2 + self.late_fans**2))
        return np.clip(even, 0.02, 0.98) ** (1 / self.spacing)

    def _between(
        self,
        rng: np.random.Generator,
        hub: np.ndarray,
        fan: np.ndarray,
        source: np.ndarray,
        target: np.ndarray,
    ) -> np.ndarray:
        """Strength over checkpoints, (checkpoint, source, target)."""
        noise = rng.normal(size=(len(hub), len(fan))) * np.exp(self.uneven * hub / 2)[:, None]
        lag = (target - source[:, None]) * 5
        own = noise - self.together * np.abs(lag) + self.one_way * (lag > 0)
        at = np.linspace(0, 1, self.n_checkpoints)[:, None, None]
        # What is an edge's own at the end takes the place of what was at the start.
        born = self._edges(rng, hub, source, target, noise)
        is_born = 1 / (1 + np.exp(-(at - born) * 40))
        start = rng.normal(size=noise.shape) - 1
        logs = hub[:, None] + 0.5 * fan + is_born * own + (1 - is_born) * start
        logs = logs + self._gains(at, source, target)
        logs = logs + 0.1 * rng.normal(size=logs.shape) * (at < 1)
        least = np.quantile(logs, self.zeros, axis=(1, 2), keepdims=True)
        return np.where(logs > least, np.exp(logs), 0) if self.zeros else np.exp(logs)

    def _gains(self, at: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Log gains of all edges of a unit, which rise at its birth."""
        when = {"gain of source": source[:, None], "gain of target": target}.get(self.edges)
        return np.zeros(1) if when is None else 2 / (1 + np.exp(-(at - when) * 40))

    def _edges(
        self,
        rng: np.random.Generator,
        hub: np.ndarray,
        source: np.ndarray,
        target: np.ndarray,
        noise: np.ndarray,
    ) -> np.ndarray:
        """When edges become what they are at the end, (source, target), between 0 and 1."""
        middle, own = np.full(noise.shape, 0.5), rng.normal(0, 0.15, noise.shape)
        if self.edges == "with source":
            middle = middle + rng.normal(0, 0.2, (len(hub), 1))
        elif self.edges == "with target":
            middle = middle + rng.normal(0, 0.2, len(target))
        elif self.edges == "hubs early":
            middle = middle - 0.15 * hub[:, None]
        elif self.edges == "top with target":
            middle, own = np.where(noise > 1, target, middle), own / 3
        return np.clip(middle + own, 0.02, 0.9)

    def _influence(self, strength: np.ndarray) -> xr.Dataset:
        layers = np.array([f"layer{i}" for i in range(len(self.widths))], object)
        channels = np.arange(max(self.widths), dtype=np.int32)
        return xr.Dataset(
            {"strength": (PAIR_DIMS, np.minimum(strength, 6e4).astype(np.float16))},
            {
                CHECKPOINT: [f"{i}" for i in range(self.n_checkpoints)],
                LAYER_FROM: layers,
                CHANNEL_FROM: channels,
                LAYER_TO: layers,
                CHANNEL_TO: channels,
                "n_channels_from": (LAYER_FROM, np.array(self.widths)),
                "n_channels_to": (LAYER_TO, np.array(self.widths)),
                "step": (CHECKPOINT, 10 * np.arange(self.n_checkpoints)),
            },
        )

    def _births(self, rng: np.random.Generator, when: list[np.ndarray]) -> xr.Dataset:
        shape = len(self.widths), max(self.widths)
        place, state = np.full(shape, -1), np.full(shape, "absent", "U8")
        for row, of_layer in enumerate(when):
            n = len(of_layer)
            is_born = rng.random(n) >= self.dead
            at = np.ceil(of_layer * (self.n_checkpoints - 1)).astype(int)
            place[row, :n] = np.where(is_born, at, -1)
            state[row, :n] = np.where(is_born, "born", "never")
        labels = np.array([*(f"{i}" for i in range(self.n_checkpoints)), ""])
        dims = (LAYER, CHANNEL)
        return xr.Dataset(
            {
                "birth": (dims, place),
                "birth_checkpoint": (dims, labels[place]),
                "birth_step": (dims, np.where(place >= 0, 10.0 * place, np.nan)),
                "state": (dims, state),
            },
            {LAYER: [f"layer{i}" for i in range(shape[0])], CHANNEL: np.arange(shape[1])},
            {"measure": "correlation"},
        )


NOTHING: Mapping[str, World] = {
    "units born at any time": World(),
    "hubs born early": World(early_hubs=2),
    "hubs born early, targets of much influence late": World(early_hubs=2, late_fans=2),
    "hubs born early, four checkpoints": World(early_hubs=2, n_checkpoints=4),
    "hubs born early, a third never born": World(early_hubs=2, dead=1 / 3),
    "hubs born early, log-spaced checkpoints": World(early_hubs=2, spacing=3),
    "hubs born early, their edges noisier": World(early_hubs=2, late_fans=2, uneven=1),
    "hubs born early, layers of 6 to 48": World(early_hubs=2, widths=(6, 24, 48)),
    "hubs born early, five layers of one width": World(early_hubs=2, widths=(16,) * 5),
}
OF_EDGES: Mapping[str, World] = {
    "edges of one source born at like times": World(edges="with source"),
    "edges of one target born at like times": World(edges="with target"),
    "hubs and their edges born early": World(early_hubs=2, edges="hubs early"),
    "all edges of a source grow at its birth": World(edges="gain of source"),
    "all edges of a target grow at its birth": World(edges="gain of target"),
}
OF_ZEROS: Mapping[str, World] = {
    f"hubs born early, fans late, {share:.0%} of strengths 0": World(
        early_hubs=2, late_fans=2, zeros=share
    )
    for share in (0.1, 0.33)
}
PLANTED: Mapping[str, World] = {
    "**planted: influence stronger where births are close**": World(early_hubs=2, together=0.25),
    "**planted: half of that**": World(early_hubs=2, together=0.125),
    "**planted: stronger where the source is born before**": World(early_hubs=2, one_way=0.5),
    "**planted: top edges born at their target's birth**": World(edges="top with target"),
}


def found_in(
    world: World, n: int, k: int = 4, null: Null = "births"
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """p of each statistic, as if all had one, and whether 0 is outside of intervals, (run, row).

    Pooled as `assembly` does, without the labels that it gives, for speed.
    """
    p_values, is_off = [], []
    for seed in range(n):
        asked = Asked.of(*world.made(seed), n_permutations=199, n_bootstrap=199, seed=seed)
        pairs = [dict(scores_of(asked, pair, top_edges(pair, k), null)) for pair in asked.pairs]
        of_all = [pooled([each[name] for each in pairs]) for name in CLAIMS]
        p_values.append([np.nan if each is None else each.p_value for each in of_all])
        bounds = [np.full(2, np.nan) if each is None else each.interval for each in of_all]
        is_off.append([bool(low > 0 or high < 0) for low, high in bounds])
    return np.array(p_values), np.array(is_off), list(CLAIMS)


def naive(world: World, seed: int, k: int = 4, n_permutations: int = 199) -> float:
    """p of the share of top inputs that are born before their target, births of sources permuted.

    The bad example: no function of dvis computes it.
    """
    influence, births = world.made(seed)
    rng = np.random.default_rng(seed)
    when = np.where(births["state"] == "born", births["birth"], np.nan)
    hits = np.zeros(1 + n_permutations)
    n = len(world.widths)
    orders = [
        np.array([np.arange(w), *(rng.permutation(w) for _ in range(n_permutations))])
        for w in world.widths
    ]
    for i in range(n):
        for j in range(i + 1, n):
            last = influence["strength"].values[-1, i, : world.widths[i], j, : world.widths[j]]
            top = np.argsort(-last, axis=0)[:k]
            of_sources = when[i, : world.widths[i]][orders[i]][:, top]
            hits += (of_sources < when[j, : world.widths[j]]).sum((1, 2))
    return float((hits >= hits[0]).mean())

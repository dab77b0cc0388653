"""Made-up runs in which nothing is planted, each with a confound that real runs have.

A seed in, trajectories out; and what the tests of `dvis.analysis` find in many of them. Used by
tests, for few seeds, and by `scripts/bench/levels.py`.
"""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from made_up import made_up

from dvis.analysis.births import births
from dvis.analysis.change_points import change_points
from dvis.analysis.order import birth_order
from dvis.analysis.together import alignment

T = 12  # checkpoints of a run of which births are taken
N_LAYERS, N_CHANNELS, N_BIRTHS = 6, 8, 20

Generator = np.random.Generator
# Trajectories (checkpoint, layer, channel) of so many layers and channels.
Trajectories = Callable[[Generator, int, int], np.ndarray]
# A series over so many checkpoints, and the places of the births of units.
Series = Callable[[Generator, int], tuple[np.ndarray, np.ndarray]]


def rises(when: np.ndarray, n_checkpoints: int = T, width: float = 0.8) -> np.ndarray:
    """Smooth rises from 0 to 1 about a place of each unit, (checkpoint, layer, channel)."""
    return 1 / (1 + np.exp(-(np.arange(n_checkpoints)[:, None, None] - when) / width))


def any_time(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """Units that rise at any time, whatever their layer."""
    return rises(rng.uniform(2, 9, (1, n_layers, n_channels)))


def shared(sd: float) -> Trajectories:
    """Units of a layer that share a shift."""

    def made(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
        own = rng.uniform(3, 8, (1, n_layers, n_channels))
        return rises(own + rng.normal(0, sd, (1, n_layers, 1)))

    return made


def noisy(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """The deeper, the noisier: 2 to 25 % of the final level."""
    noise = rng.normal(size=(T, n_layers, n_channels))
    return any_time(rng, n_layers, n_channels) + noise * _ramp(n_layers, 0.02, 0.25)


def half_dead(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """Half of the deepest layer never answers."""
    made = any_time(rng, n_layers, n_channels)
    made[:, -1, : n_channels // 2] = 0
    return made


def tied(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """Nine of ten units rise at one checkpoint."""
    when = rng.uniform(2, 9, (1, n_layers, n_channels))
    return rises(np.where(rng.random(when.shape) < 0.9, 5.2, when))


def of_many_sizes(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """The deeper, the more units: 2 to four times as many as asked for; layers share shifts."""
    made = shared(1)(rng, n_layers, 4 * n_channels)
    sizes = np.linspace(2, 4 * n_channels, n_layers).astype(int)
    return np.where(np.arange(4 * n_channels) < sizes[:, None], made, np.nan)


def log_spaced(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """Even in training steps, of which checkpoints are taken at 1, 2, 4, 8, ...; shared shifts."""
    when = np.log2(1 + rng.uniform(0, 1, (1, n_layers, n_channels)) * 2**9)
    return rises(when + rng.normal(0, 1, (1, n_layers, 1)))


def gains_at_once(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """Gains of all layers double at once, and an activation is the product of those below it."""
    when = rng.uniform(3, 8) + rng.normal(0, 0.5, (1, n_layers, n_channels))
    return (1 + rises(when)) ** np.arange(1, n_layers + 1)[:, None]


def untrained_answers(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """The deeper, the more strongly an untrained layer answers: 0 to 80 % of the final level."""
    start = _ramp(n_layers, 0.0, 0.8) * (1 - rises(np.full((1, 1, 1), 3.0)))
    return any_time(rng, n_layers, n_channels) + start


def one_a_layer(rng: Generator, n_layers: int, n_channels: int) -> np.ndarray:
    """An order: each layer a checkpoint after the one before, units 1.5 about it."""
    own = rng.normal(3, 1.5, (1, n_layers, n_channels))
    return rises(own + np.arange(n_layers)[:, None])


def _ramp(n_layers: int, first: float, last: float) -> np.ndarray:
    return np.linspace(first, last, n_layers)[:, None]


NO_ORDER: Mapping[str, Trajectories] = {
    "units born at any time": any_time,
    "units of a layer share a shift, sd 1 checkpoint": shared(1),
    "the same, sd 2 checkpoints": shared(2),
    "deeper layers on a larger scale, up to 100,000 x": lambda rng, n_layers, n: (
        any_time(rng, n_layers, n) * 10.0 ** np.arange(n_layers)[:, None]
    ),
    "deeper layers noisier, 2 to 25 %": noisy,
    "half of the deepest layer dead": half_dead,
    "nine of ten units born at one checkpoint": tied,
    "deeper layers of more units, 2 to 32": of_many_sizes,
    "log-spaced checkpoints, shared shifts": log_spaced,
}
# What moves births of raw activations from layer to layer, though nothing is learnt in an order.
OF_SCALE: Mapping[str, Trajectories] = {
    "gains of all layers double at once": gains_at_once,
    "untrained layers answer, deeper ones more": untrained_answers,
}


Learnt = Callable[[Generator, int, int], xr.Dataset]  # a run, in place of trajectories


def held_against(run: xr.Dataset, gains: np.ndarray) -> xr.Dataset:
    """A run of units without scale, below gains (checkpoint, layer) of which all is a multiple.

    Reference images give each unit a mean of 0 and a standard deviation of 0.1 before the gain.
    """
    gain = xr.DataArray(
        np.broadcast_to(gains, run["activation"].shape[:2]), dims=run["activation"].dims[:2]
    )
    activation = (run["activation"] * gain).assign_attrs(run["activation"].attrs)
    spread = xr.zeros_like(activation) + 0.1 * gain
    held = {"reference_mean": xr.zeros_like(activation), "reference_sd": spread}
    return run.assign(activation=activation, **held)


def of_answers(
    learnt: np.ndarray,
    gains: np.ndarray,
    untrained: np.ndarray | None = None,
    *,
    noise: float = 0.0,
    is_lazy: bool = False,
) -> xr.Dataset:
    """Answers to images that come to be the last ones as `learnt` rises from 0 to 1.

    `untrained` (checkpoint, layer, channel) is how much of another pattern they are, which has
    nothing to do with the last, by default what is left to 1; the gains (checkpoint, layer)
    multiply all.
    """
    rng, n_images = np.random.default_rng(1), 32
    drawn = rng.standard_normal((n_images, 2))
    last, other = np.linalg.qr(drawn - drawn.mean(axis=0))[0].T * np.sqrt(n_images)
    share = 1 - learnt if untrained is None else untrained
    answers = learnt[..., None] * last + np.broadcast_to(share, learnt.shape)[..., None] * other
    answers = answers + noise * rng.standard_normal(answers.shape)
    gain = np.broadcast_to(gains, learnt.shape[:2])[..., None, None]
    layers = [f"layer{i}" for i in range(learnt.shape[1])]
    run = made_up(learnt, layers=layers)
    run = run.drop_vars("activation").assign_coords(image=np.arange(n_images))
    run["response"] = (*run["status"].dims, "image"), (answers * gain).astype(np.float32)
    if is_lazy:
        return run.chunk({"checkpoint": 5, "channel": 3, "image": 7}).assign_coords(run.coords)
    return run


def _gains(rng: Generator, n_layers: int) -> np.ndarray:
    """Gains that double at some moment, multiplied with depth, (checkpoint, layer)."""
    doubled = 1 + rises(np.full((1, 1, 1), rng.uniform(3, 8)))[..., 0]
    return doubled ** np.arange(1, n_layers + 1)


def standardised(make: Trajectories) -> Learnt:
    """Units that learn so without scale, below gains that double at once, and their reference."""

    def made(rng: Generator, n_layers: int, n_channels: int) -> xr.Dataset:
        learnt = make(rng, n_layers, n_channels)
        run = made_up(learnt, layers=[f"layer{i}" for i in range(n_layers)])
        return held_against(run, _gains(rng, n_layers))

    return made


def correlated(most: float, make: Trajectories = any_time) -> Learnt:
    """Units whose answers come to be the last ones so, below gains that double at once.

    Untrained ones answer too, to other images: the deeper the more, up to `most` of the last.
    """

    def made(rng: Generator, n_layers: int, n_channels: int) -> xr.Dataset:
        learnt = make(rng, n_layers, n_channels)
        untrained = _ramp(n_layers, 0.0, most) * (1 - rises(np.full((1, 1, 1), 3.0)))
        return of_answers(learnt, _gains(rng, n_layers), untrained, noise=0.1)

    return made


# Confounds as the measures without scale see them: gains, and what untrained layers answer.
WITHOUT_SCALE: Mapping[str, Learnt] = {
    "gains of all layers double at once, standardised": standardised(any_time),
    "gains of all layers double at once, correlation": correlated(0.0),
    "untrained layers answer otherwise, deeper ones more, correlation": correlated(0.8),
}
# Not a matter of scale: untrained units stand out from their spread, deeper ones more.
UNTRAINED_STAND_OUT = standardised(untrained_answers)
PLANTED: Mapping[str, Learnt] = {
    "standardised": standardised(one_a_layer),
    "correlation": correlated(0.5, one_a_layer),
}


def orders(
    make: Trajectories | Learnt, n_seeds: int, *, n_layers: int = N_LAYERS, **options: object
):
    """What `birth_order` finds in so many runs, (seed,): p, and whether the interval is off 0.

    Of a run that is made whole, births are by its usual measure; of trajectories as of something
    without scale, or with `is_raw` as of activations.
    """
    is_raw = bool(options.pop("is_raw", False))
    baseline = options.pop("baseline", "zero")
    runs = [make(np.random.default_rng(seed), n_layers, N_CHANNELS) for seed in range(n_seeds)]
    layers = [f"run{seed}.layer{i}" for seed in range(n_seeds) for i in range(n_layers)]
    if isinstance(runs[0], xr.Dataset):
        together = xr.concat(runs, "layer").assign_coords(layer=layers)
        born = births(together, baseline=baseline).load()
    else:
        together = made_up(np.concatenate(runs, axis=1), layers=layers)
        of_scale = None if is_raw else together["activation"].rename("similarity")
        born = births(together, variable=of_scale).load()
    found = []
    for seed in range(n_seeds):
        of_run = born.isel(layer=slice(seed * n_layers, (seed + 1) * n_layers))
        order = birth_order(of_run, seed=seed, **{"n_permutations": 999, **options})
        low, high = order["correlation_interval"].values
        found.append((float(order["p_value"]), low > 0 or high < 0))
    return np.array(found).T


def jumps_at(places: np.ndarray, rng: Generator, n_checkpoints: int) -> np.ndarray:
    """A series that jumps up or down at some places, with little noise."""
    heights = rng.choice([-1, 1], len(places)) * rng.uniform(1, 3, len(places))
    is_after = np.arange(n_checkpoints)[:, None] >= places
    return is_after @ heights + 0.1 * rng.standard_normal(n_checkpoints)


def _anywhere(rng: Generator, n_checkpoints: int, n: int = 3) -> np.ndarray:
    return rng.choice(np.arange(3, n_checkpoints - 3), n, replace=False)


def _mid_training(
    rng: Generator, n_checkpoints: int, n: int = N_BIRTHS, share: float = 1 / 8
) -> np.ndarray:
    places = np.round(rng.normal(n_checkpoints / 2, n_checkpoints * share, n))
    return np.clip(places, 3, n_checkpoints - 3).astype(int)


def _smooth_rise(rng: Generator, n_checkpoints: int) -> np.ndarray:
    when = rng.uniform(0.35, 0.65) * n_checkpoints
    rise = 20 / (1 + np.exp(-(np.arange(n_checkpoints) - when) / 2))
    return rise + 0.2 * rng.standard_normal(n_checkpoints)


def births_at_jumps(rng: Generator, n_checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
    """Four of five units are born where a series jumps, three times."""
    places = _anywhere(rng, n_checkpoints)
    born = np.where(
        rng.random(N_BIRTHS) < 0.8,
        rng.choice(places, N_BIRTHS),
        rng.integers(2, n_checkpoints - 2, N_BIRTHS),
    )
    return jumps_at(places, rng, n_checkpoints), born


APART: Mapping[str, Series] = {
    "jumps anywhere, births anywhere": lambda rng, n: (
        jumps_at(_anywhere(rng, n), rng, n),
        rng.integers(2, n - 2, N_BIRTHS),
    ),
    "jumps anywhere, all births at one moment": lambda rng, n: (
        jumps_at(_anywhere(rng, n), rng, n),
        rng.integers(3, n - 3) + rng.integers(-1, 2, N_BIRTHS),
    ),
    "a smooth rise and births, both in mid training": lambda rng, n: (
        _smooth_rise(rng, n),
        _mid_training(rng, n),
    ),
    "three jumps and births, both in mid training": lambda rng, n: (
        jumps_at(_mid_training(rng, n, 3), rng, n),
        _mid_training(rng, n),
    ),
    "a jump and births, both closer about the middle": lambda rng, n: (
        jumps_at(_mid_training(rng, n, 1, 1 / 12), rng, n),
        _mid_training(rng, n, share=1 / 12),
    ),
    "a random walk, births in mid training": lambda rng, n: (
        rng.standard_normal(n).cumsum(),
        _mid_training(rng, n),
    ),
    "noise, births anywhere": lambda rng, n: (
        rng.standard_normal(n),
        rng.integers(2, n - 2, N_BIRTHS),
    ),
}


def alignments(make: Series, n_seeds: int, n_checkpoints: int) -> np.ndarray:
    """p-values of `alignment` in so many runs, (seed,), NaN where a series has no change."""
    runs = [make(np.random.default_rng(seed), n_checkpoints) for seed in range(n_seeds)]
    steps = {"step": ("checkpoint", np.arange(n_checkpoints))}
    series = xr.Dataset({"series": (("channel", "checkpoint"), [run[0] for run in runs])}, steps)
    changes = change_points(series, variable="series")
    return np.array(
        [
            float(
                alignment(
                    xr.Dataset({"birth_step": ("channel", born.astype(float))}),
                    changes.isel(channel=seed),
                    n_permutations=999,
                    seed=seed,
                )["p_value"]
            )
            for seed, (_, born) in enumerate(runs)
        ]
    )


def correlated_noise(rho: float, n_series: int, n_checkpoints: int) -> np.ndarray:
    """Noise of variance 1 whose neighbours correlate by `rho`, (channel, checkpoint)."""
    noise = np.random.default_rng(n_checkpoints).standard_normal((n_series, n_checkpoints))
    for place in range(1, n_checkpoints):
        own = np.sqrt(1 - rho**2) * noise[:, place]
        noise[:, place] = rho * noise[:, place - 1] + own
    return noise


def false_alarms(series: np.ndarray, **options: object) -> float:
    """Share of series (channel, checkpoint) in which `change_points` finds some change."""
    run = xr.Dataset({"series": (("channel", "checkpoint"), series)})
    return float((change_points(run, variable="series", **options)["n_changes"] > 0).mean())


def chains_of_noise(n: int, n_chains: int, n_depths: int) -> xr.DataArray:
    """Numbers of chains at depths that have nothing to do with them, (draw, seed, depth)."""
    noise = np.random.default_rng(0).normal(size=(n, n_chains, n_depths))
    return xr.DataArray(noise, dims=("draw", "seed", "depth"))


def chains_apart(n: int, n_chains: int, n_depths: int) -> xr.DataArray:
    """The same, each chain at a level of its own that is ten times as far off."""
    noise = chains_of_noise(n, n_chains, n_depths)
    return noise + 10 * noise.isel(depth=0, drop=True)


def chains_of_counts(n: int, n_chains: int, n_depths: int) -> xr.DataArray:
    """The same as small whole numbers, of which many are ties."""
    return chains_of_noise(n, n_chains, n_depths).round()


def chains_that_walk(n: int, n_chains: int, n_depths: int) -> xr.DataArray:
    """Numbers that each level takes over from the one above, and noise."""
    return chains_of_noise(n, n_chains, n_depths).cumsum("depth")


def chains_that_rise(n: int, n_chains: int, n_depths: int) -> xr.DataArray:
    """Numbers that rise by a standard deviation with each depth."""
    return chains_of_noise(n, n_chains, n_depths) + xr.DataArray(np.arange(n_depths), dims="depth")


TRENDS: Mapping[str, Callable[[int, int, int], xr.DataArray]] = {
    "numbers that have nothing to do with depth": chains_of_noise,
    "each chain at a level of its own": chains_apart,
    "small whole numbers, many ties": chains_of_counts,
    "each level takes its number over from the one above: a walk": chains_that_walk,
    "**planted: a standard deviation a level**": chains_that_rise,
}

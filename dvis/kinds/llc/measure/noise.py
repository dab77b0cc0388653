"""Random numbers of a chain: its own noise, its own minibatches, and nobody else's.

Every chain has streams that follow from its seed alone, so that chains can be sampled in any
order, again, or longer, and give the same numbers.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

_BITS = 16
_PER_WORD = 64 // _BITS
_BLOCK = 2**15  # numbers that are drawn at once: they stay in the processor's cache


def chain_seed(*parts: object) -> int:
    """A number of 64 bits that follows from what a chain is, alike on every machine."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


class Minibatches:
    """Positions of one minibatch after the other: epochs, each in an order of its own.

    What is left of an epoch when it no longer fills a minibatch is left out, so that a minibatch
    is always a uniform choice of different samples. All samples are taken, in their order, where
    the set has no more than a minibatch.
    """

    def __init__(self, n_samples: int, batch_size: int, seed: int) -> None:
        self.is_whole = batch_size >= n_samples
        self._n_samples, self._batch_size = n_samples, batch_size
        self._generator = np.random.default_rng((seed, 1))
        self._order = np.arange(n_samples)
        self._first = 0 if self.is_whole else n_samples

    def __next__(self) -> np.ndarray:
        """Positions (sample,) of the next minibatch."""
        if self.is_whole:
            return self._order
        if self._first + self._batch_size > self._n_samples:
            self._order = self._generator.permutation(self._n_samples)
            self._first = 0
        positions: np.ndarray = self._order[self._first : self._first + self._batch_size]
        self._first += self._batch_size
        return positions


class GaussianNoise:
    """Normal noise for the weights of one chain, step by step.

    On a CPU, torch draws a number from a Mersenne twister in 3 ns, which for a small convolutional
    network is a sixth of a whole training step. Here 16 random bits choose one of 65,536 equally
    probable levels: the means of the normal distribution between its quantiles, scaled to
    variance 1, in a third of the time. Euler's scheme needs the first three moments of its noise
    only (Kloeden & Platen 1992, section 14.1); these levels agree with the normal distribution
    in them, to 0.1 % in the fourth, and to 1e-5 in the distribution function.

    Parameters
    ----------
    shapes : sequence of torch.Size
        Shapes of the weights.
    seed : int
        The chain's.
    like : Tensor
        Weights whose device and dtype the noise has.
    scale : float
        Its standard deviation.
    """

    def __init__(
        self, shapes: Sequence[torch.Size], seed: int, like: Tensor, scale: float = 1.0
    ) -> None:
        self._sizes = [shape.numel() for shape in shapes]
        self._shapes = shapes
        n_numbers = -(-sum(self._sizes) // _PER_WORD) * _PER_WORD  # a step uses up whole words
        self._is_fast = like.device.type == "cpu"
        # Of small models several steps are drawn at once.
        self._n_steps = max(1, _BLOCK // max(1, n_numbers)) if self._is_fast else 1
        self._numbers = torch.empty(
            (self._n_steps, n_numbers), dtype=like.dtype, device=like.device
        )
        self._step = self._n_steps
        if self._is_fast:
            self._bits = np.random.SFC64((seed, 2))
            self._levels = torch.from_numpy(scale * _levels()).to(like.dtype)
            self._places = np.empty(_BLOCK, np.int32)
        else:
            self._scale = scale
            self._generator = torch.Generator(like.device).manual_seed(seed)

    def __next__(self) -> list[Tensor]:
        """Noise of the shapes of the weights; it is overwritten by the next."""
        if self._step == self._n_steps:
            self._draw()
            self._step = 0
        numbers = self._numbers[self._step][: sum(self._sizes)]
        parts = torch.split(numbers, self._sizes)
        self._step += 1
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _draw(self) -> None:
        if not self._is_fast:
            self._numbers.normal_(0, self._scale, generator=self._generator)
            return
        for block in torch.split(self._numbers.view(-1), _BLOCK):
            words = self._bits.random_raw(len(block) // _PER_WORD)
            places = self._places[: len(block)]
            places[:] = words.view(np.uint16)
            torch.index_select(self._levels, 0, torch.from_numpy(places), out=block)


@cache
def _levels() -> np.ndarray:
    """Means of the normal distribution between its 65,537 quantiles, scaled to variance 1.

    The mean of a cell from a to b is (pdf(a) - pdf(b)) / probability.
    """
    n_levels = 2**_BITS
    normal = NormalDist()
    half = np.array([normal.inv_cdf(i / n_levels) for i in range(n_levels // 2, n_levels)])
    density = np.append(np.exp(-(half**2) / 2), 0.0) / np.sqrt(2 * np.pi)
    positive = n_levels * (density[:-1] - density[1:])
    levels = np.concatenate([-positive[::-1], positive])
    return np.asarray(levels / np.sqrt(np.mean(levels**2)))


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers drawn inside come from this seed, and those outside know nothing of it.

    Nothing of the sampler draws from the global generators of Python, numpy and torch, but data
    with random transforms, or a loss, may.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - others draw from it
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.default_generator.manual_seed(seed)
        if devices:
            getattr(torch, device.type).manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002

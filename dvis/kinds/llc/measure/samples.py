"""Samples whose loss is measured: the same at every checkpoint, read by their positions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from dvis.kinds.llc.measure.noise import chain_seed, own_randomness
from dvis.models.data import ImageSet
from dvis.models.data.fixed_images import FixedImages

_READ_TWICE = 16  # samples that are read twice: chance seldom gives all of them the same


@runtime_checkable
class Samples(Protocol):
    """Samples that can be read in any order, and travel to workers."""

    @property
    def fingerprint(self) -> str:
        """What tells these samples from others."""

    def __len__(self) -> int: ...

    def batch(self, positions: np.ndarray, like: Tensor) -> Any:
        """The samples at these positions, on the device and in the precision of a tensor."""


@dataclass(frozen=True)
class ImageSamples:
    """Labelled images as a model takes them; a batch is (images, labels)."""

    images: FixedImages

    def __post_init__(self) -> None:
        if not self.images.images.classes:
            raise ValueError(
                f"the images of {self.images.images.name} have no labels; give a labelled set, or "
                "tensors with a loss of your own"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """That of the image set; its transform is recorded beside it."""
        return self.images.fingerprint

    def batch(self, positions: np.ndarray, like: Tensor) -> tuple[Tensor, Tensor]:
        """Images (sample, channel, y, x) and labels (sample,)."""
        labels = torch.from_numpy(self.images.images.labels[positions])
        return self.images.at(positions, like), labels.to(like.device)


@dataclass(frozen=True, eq=False)
class TensorSamples:
    """Tensors in memory, of which each has the samples as first dim; a batch is a tuple of them."""

    tensors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        lengths = {len(tensor) if tensor.ndim else 0 for tensor in self.tensors}
        if len(lengths) != 1:
            raise ValueError(
                f"tensors of {[tuple(tensor.shape) for tensor in self.tensors]} are no set of "
                "samples; give tensors with one first dim, such as (images, labels)"
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of dtypes, shapes and values."""
        return f"tensors-{_digest(self.tensors)}"

    def batch(self, positions: np.ndarray, like: Tensor) -> tuple[Tensor, ...]:
        """Each tensor at these positions."""
        places = torch.from_numpy(np.asarray(positions, np.int64))
        return tuple(_placed(t[places.to(t.device)], like) for t in self.tensors)


@dataclass(frozen=True, eq=False)
class DatasetSamples:
    """A torch Dataset; a batch is what torch's `default_collate` makes of its items."""

    dataset: Dataset[Any]
    fingerprint: str = field(default="")

    def __post_init__(self) -> None:
        if not self.fingerprint:
            with own_randomness(chain_seed("fingerprint"), torch.device("cpu")):
                items = [self.dataset[int(i)] for i in _some_positions(len(self))]
            text = f"{len(self)}-{_digest(_leaves(items))}"
            object.__setattr__(self, "fingerprint", f"some-{text}")

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # checked to be sized

    def batch(self, positions: np.ndarray, like: Tensor) -> Any:
        """The items at these positions, collated."""
        collated = default_collate([self.dataset[int(position)] for position in positions])
        return _mapped(collated, lambda tensor: _placed(tensor, like))


def samples_of(data: Any, allow_random: bool = False) -> Samples:
    """Samples of any data that a model's loss is defined for.

    Parameters
    ----------
    data : ImageSet, FixedImages, tuple of Tensor, Dataset or Samples
        A labelled image set (through its own transform, or that of `FixedImages`), tensors such as
        (images, labels), a torch Dataset with a length, or an object with the methods of `Samples`.
    allow_random : bool
        Take a Dataset that gives another item each time it is read, as augmentation does. The loss
        that is sampled is then that of the augmented set.

    Returns
    -------
    Samples
        The fingerprint of a Dataset covers its length and 16 items.

    Raises
    ------
    TypeError
        When the data is of another kind, or has no length.
    ValueError
        When it is empty, unlabelled, or random without leave.
    """
    samples = _of_kind(data, allow_random)
    if len(samples) == 0:
        raise ValueError("there are no samples: the data is empty")
    return samples


def _of_kind(data: Any, allow_random: bool) -> Samples:
    if isinstance(data, ImageSet):
        return ImageSamples(FixedImages.of(data, data.transform))
    if isinstance(data, FixedImages):
        return ImageSamples(data)
    if isinstance(data, TensorDataset):
        return TensorSamples(data.tensors)
    if isinstance(data, tuple | list) and data and all(isinstance(t, Tensor) for t in data):
        return TensorSamples(tuple(data))
    if isinstance(data, Samples):
        return data
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")) or isinstance(
        data, str | bytes | Mapping | tuple | list
    ):
        raise TypeError(
            f"{type(data).__name__} is no set of samples: give a labelled image set, a tuple of "
            "tensors, or a torch Dataset with a length, whose items can be read in any order"
        )
    if len(data) == 0:
        raise ValueError("there are no samples: the data is empty")
    if not allow_random and _is_random(data):
        raise ValueError(
            f"{type(data).__name__} gives another item each time it is read, as augmentation does, "
            "so its loss is not one function of the weights. Take the set without augmentation, or "
            "allow it (allow_random=True)"
        )
    return DatasetSamples(data)


def _some_positions(n_samples: int) -> np.ndarray:
    return np.unique(np.linspace(0, n_samples - 1, _READ_TWICE).astype(int))


def _is_random(dataset: Any) -> bool:
    positions = [int(i) for i in _some_positions(len(dataset))]
    with own_randomness(chain_seed("read twice"), torch.device("cpu")):
        first, second = ([dataset[i] for i in positions] for _ in range(2))
        return _digest(_leaves(first)) != _digest(_leaves(second))


def _leaves(items: Any) -> list[Any]:
    """Tensors, numbers and texts in nested items, in order."""
    if isinstance(items, Mapping):
        return [leaf for key in items for leaf in (str(key), *_leaves(items[key]))]
    if isinstance(items, Sequence) and not isinstance(items, str | bytes):
        return [leaf for item in items for leaf in _leaves(item)]
    return [items]


def _digest(leaves: Sequence[Any]) -> str:
    total = blake2b(digest_size=16)
    for leaf in leaves:
        if isinstance(leaf, np.ndarray | np.generic | int | float):
            leaf = torch.as_tensor(leaf)
        if isinstance(leaf, Tensor):
            values = leaf.detach().cpu().contiguous()
            total.update(repr((values.dtype, tuple(values.shape))).encode())
            total.update(values.reshape(-1).view(torch.uint8).numpy().data)
        else:
            total.update(repr(leaf).encode())
    return total.hexdigest()


def _placed(tensor: Tensor, like: Tensor) -> Tensor:
    """On the device of another, and in its precision where it holds real numbers."""
    dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.to(device=like.device, dtype=dtype)


def _mapped(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nested batch with each of its tensors changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: _mapped(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(_mapped(value, change) for value in batch)
    return batch

"""Autoencoders of a store that are to be tracked, and the rows of activations that they are of.

Options in; autoencoders and rows at each checkpoint out. Nothing here writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.read import entry_of
from dvis.kinds.activations.words import Split
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.likeness import Coder
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.options import SaeOptions
from dvis.kinds.saes.plan import chosen_checkpoints, weights_of
from dvis.kinds.saes.plan_evaluation import weights_told
from dvis.kinds.saes.read import name_in_layer, name_of, saes, weights_told_of
from dvis.kinds.saes.store_options import TrackOptions
from dvis.kinds.saes.words import KIND, is_autoencoders
from dvis.schema import CHANNEL, CHECKPOINT, Status
from dvis.store.contents import Entry, contents

_RECIPE = tuple(each.name for each in fields(SaeOptions))
_ALIKE = ("n_steps", "batch_size", "warm_start", "activations")  # of two seeds, beside the recipe


@dataclass(frozen=True, kw_only=True)
class Source:
    """Autoencoders of a name at some checkpoints.

    Attributes
    ----------
    store : Path
        The store.
    trained : Dataset
        As `dvis.saes` gives them.
    labels : tuple of str
        Checkpoints, in training order.
    split : str
        Samples on which they are held against each other.
    attrs : mapping of str to plain values
        Attributes of their group.
    """

    store: Path
    trained: xr.Dataset
    labels: tuple[str, ...]
    split: Split
    attrs: Mapping[str, Any]
    _rows: dict[tuple[str, Split, int, str], ActivationRows] = field(default_factory=dict)

    @classmethod
    def of(cls, options: TrackOptions) -> Self:
        """What options ask for.

        Raises
        ------
        FileNotFoundError, KeyError, SchemaError
            As `dvis.saes` does.
        ValueError
            When there are fewer than two checkpoints, latents do not keep their numbers and are not
            to be matched, or activations are missing, or of other weights.
        """
        store = options.store.expanduser()
        trained = saes(store, options.layer, options.name, options.run)
        there = trained.isel({CHECKPOINT: trained["status"].values == Status.COMPLETE})
        name = name_in_layer(trained)
        if not there.sizes[CHECKPOINT]:
            raise ValueError(
                f"no autoencoder {name!r} of {options.layer} is trained yet; run the same "
                "`dvis sae train` again"
            )
        labels = tuple(chosen_checkpoints(there, options.checkpoints))
        if len(labels) < 2:
            shown = ", ".join(there[CHECKPOINT].values[:10].tolist())
            raise ValueError(
                f"autoencoders {name!r} are asked for at {len(labels)} checkpoint, and a track "
                f"needs two or more. There are: {shown}. Train more by `dvis sae train "
                "--checkpoints all`"
            )
        why = why_unmatched(there.sel({CHECKPOINT: [*labels]}), name)
        if why and options.method == "warm":
            raise ValueError(f"{why}; or match them with --method match")
        return cls.at(store, trained, labels, options.split)

    @classmethod
    def at(cls, store: Path, trained: xr.Dataset, labels: tuple[str, ...], split: Split) -> Self:
        """Autoencoders that were opened, at some checkpoints, and their rows.

        Raises
        ------
        KeyError, ValueError, SchemaError
            When activations are missing, or of other weights.
        """
        entry = _entry(store, trained)
        source = cls(store=store, trained=trained, labels=labels, split=split, attrs=entry.attrs)
        source.check_rows()
        return source

    @property
    def name(self) -> str:
        """What they are called in their layer."""
        return name_in_layer(self.trained)

    @property
    def layer(self) -> str:
        """Whose activations they are of."""
        return str(self.trained.attrs["layer"])

    @property
    def run(self) -> str:
        """The training run."""
        return str(self.trained.attrs["run"])

    @property
    def recipe(self) -> SaeOptions | None:
        """As what they were trained; None of those that came from elsewhere."""
        if any(name not in self.attrs for name in (*_RECIPE, *_ALIKE)):
            return None
        return SaeOptions(**{name: self.attrs[name] for name in _RECIPE})

    @property
    def activations(self) -> str | None:
        """Name of the activations that they were trained on, None where the layer has the one."""
        name = self.attrs.get("activations")
        return None if name is None else str(name)

    def rows(
        self,
        label: str,
        split: Split | None = None,
        batch_size: int = 1,
        *,
        name: str | None = None,
    ) -> ActivationRows:
        """Rows of a checkpoint; samples of a split, which come in their order or in batches.

        By default of the activations that they were trained on; else of those of a name.
        """
        key = label, split or self.split, batch_size, name or ""
        if key not in self._rows:
            self._rows[key] = ActivationRows.open(
                self.store,
                self.layer,
                label,
                name=name or self.activations,
                run=self.run,
                split=split or self.split,
                batch_size=batch_size,
            )
        return self._rows[key]

    def autoencoder(self, label: str) -> Autoencoder:
        """That of a checkpoint."""
        return autoencoder_at(self.trained, label)

    def coder(self, label: str) -> Coder:
        """The autoencoder of a checkpoint, and the rows on which it is looked at."""
        return Coder(autoencoder=self.autoencoder(label), rows=self.rows(label))

    def coder_if_there(self, label: str) -> Coder | None:
        """The same; None where there is no autoencoder at the checkpoint."""
        return self.coder(label) if self.has(label) else None

    @cached_property
    def hashes(self) -> list[int]:
        """What tells each checkpoint's autoencoder from others, in the order of the labels."""
        return [weights_told(self.autoencoder(label)) for label in self.labels]

    def check_rows(self, name: str | None = None) -> None:
        """Refuse activations that are missing, or not of the weights of the autoencoders.

        By default of those that they were trained on; else of those of a name.

        Raises
        ------
        KeyError, ValueError, SchemaError
            As said.
        """
        for label in self.labels:
            self.rows(label, name=name)
        found = contents(self.store)
        kept = entry_of(found, self.layer, name or self.activations, self.run)
        entry = _entry(self.store, self.trained)
        weights, made_of = weights_of(self.store, kept), weights_told_of(self.store, entry)
        others = [
            each for each in self.labels if 0 != made_of[each] != weights.get(each, made_of[each])
        ]
        if others:
            raise ValueError(
                f"autoencoders {self.name!r} of {', '.join(others[:5])} are of other weights than "
                f"the activations{f' {name!r}' if name else ''} under that label; train them again "
                "with --overwrite"
            )

    def seconds(self) -> dict[str, xr.Dataset]:
        """Autoencoders that were trained alike, but for their seed, by name."""
        found, own = contents(self.store), self.recipe
        if own is None:
            return {}
        alike = [name for name in (*_RECIPE, *_ALIKE) if name != "seed"]
        return {
            name_of(each): saes(self.store, self.layer, name_of(each), self.run)
            for each in found.of(KIND, self.run)
            if is_autoencoders(each.attrs)
            and each.attrs.get("layer") == self.layer
            and each.attrs.get("seed") != own.seed
            and all(each.attrs.get(name) == self.attrs[name] for name in alike)
        }

    def second(self, name: str) -> "Source":
        """Autoencoders of another name, to hold against these.

        Raises
        ------
        KeyError
            When there are none of the name.
        ValueError
            When they are of another width, or these themselves.
        """
        if name == self.name:
            raise ValueError(f"second is {name!r}, which is what is tracked; name another seed")
        trained = saes(self.store, self.layer, name, self.run)
        widths = [each.sizes[LATENT] for each in (self.trained, trained)]
        if widths[0] != widths[1]:
            raise ValueError(
                f"autoencoders {self.name!r} have {widths[0]} latents and {name!r} {widths[1]}; a "
                "second seed is trained alike, with as many"
            )
        entry = _entry(self.store, trained)
        return Source(
            store=self.store,
            trained=trained,
            labels=self.labels,
            split=self.split,
            attrs=entry.attrs,
            _rows=self._rows,
        )

    @property
    def n_latents(self) -> int:
        """Latents of each."""
        return self.trained.sizes[LATENT]

    @property
    def n_channels(self) -> int:
        """Channels of the layer."""
        return self.trained.sizes[CHANNEL]

    def weights(self, label: str) -> np.ndarray:
        """What tells the network's weights of a checkpoint, (1,) uint64."""
        made_of = weights_told_of(self.store, _entry(self.store, self.trained))
        return np.array([made_of[label]], np.uint64)

    def has_all(self) -> bool:
        """Whether there is an autoencoder at every checkpoint."""
        return all(map(self.has, self.labels))

    def has(self, label: str) -> bool:
        """Whether there is an autoencoder at a checkpoint."""
        is_there = self.trained["status"].values == Status.COMPLETE
        return label in self.trained[CHECKPOINT].values[is_there].tolist()


def _entry(store: Path, trained: xr.Dataset) -> Entry:
    """The group of autoencoders that were opened."""
    run, name = str(trained.attrs["run"]), str(trained.attrs["name"])
    (entry,) = (each for each in contents(store).of(KIND, run) if each.name == name)
    return entry

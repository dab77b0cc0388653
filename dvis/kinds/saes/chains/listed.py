"""Levels of chains as the page lists them: their latents, what each is made of, and back.

Groups of a store in, plain numbers of a checkpoint and parts of a latent out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL
from dvis.kinds.listed import Column, ListHead, ListKey, Nearest
from dvis.kinds.parts import Asked, Part
from dvis.kinds.saes.chains.parts import Parents, chain_graph
from dvis.kinds.saes.chains.words import DEPTH, ON, READ_WITH, SEED
from dvis.kinds.saes.dims import CLASS, LATENT
from dvis.kinds.saes.found import STATES
from dvis.kinds.saes.read import SAE_READER, name_of
from dvis.kinds.saes.words import KIND, WEIGHTS, is_chains
from dvis.kinds.shown import checkpoint_documents
from dvis.schema import CHECKPOINT, SchemaError, Status, counted
from dvis.store.contents import Entry

_FIRES, _DEAD = 0.0, float(STATES.index("dead"))
_COLUMNS = {
    "frequency": "Frequency",
    "latent_selectivity": "Selectivity",
    "latent_best_share": "Best share",
    "n_parents": "Parents",
}


@dataclass(frozen=True)
class Chained:
    """A group of chains as the page reads it: one seed of it, once for all its lists."""

    asked: Asked
    entry: Entry

    @cached_property
    def chain(self) -> xr.Dataset | None:
        """The first seed at the checkpoints that are there, without weights; None if half grown."""
        try:
            dataset = self.asked.group(SAE_READER, self.entry)
        except SchemaError:  # half grown; the next `dvis sae chain` repairs it
            return None
        n_seeds = dataset.sizes[SEED]
        dataset = dataset.drop_vars([name for name in WEIGHTS if name in dataset])
        is_there = dataset["status"].values == Status.COMPLETE
        one = dataset.isel({CHECKPOINT: is_there, SEED: 0}).assign_attrs(n_seeds=n_seeds)
        return one if one.sizes[CHECKPOINT] else None

    @cached_property
    def parents(self) -> Parents:
        """Which latents those of the levels are made of."""
        assert self.chain is not None
        return Parents(self.chain.assign({n: self.chain[n].load() for n in _PARENTS}))

    @property
    def layer(self) -> str:
        """Of which layer the chain is."""
        return str(self.entry.attrs.get("layer"))

    def list_of(self, depth: int) -> str:
        """What the list of a level's latents is called; of level 0 that of the autoencoder."""
        name = name_of(self.entry)
        return f"{name}.chain-{self.entry.attrs[ON]}, level {depth}" if depth else name

    def levels(self) -> Iterator["Level"]:
        """Lists of the latents of each level below the first."""
        for depth in range(1, 0 if self.chain is None else self.chain.sizes[DEPTH]):
            yield Level(self, depth)

    def graph(self, depth: int, latent: int) -> list[Part]:
        """The graph about a latent, nothing where no other is tied to it."""
        if self.chain is None:
            return []
        graph = chain_graph(self.parents, depth, latent, self.list_of)
        return [] if graph is None else [graph]


_PARENTS = ("parent", "parent_weight")


def listed_chains(asked: Asked) -> list[Chained]:
    """The chains of a run whose statistics are of their own activations."""
    return [
        Chained(asked, entry)
        for entry in asked.contents.of(KIND, asked.run)
        if is_chains(entry.attrs) and not entry.attrs.get(READ_WITH)
    ]


@dataclass(frozen=True)
class Level:
    """The latents of a level of a chain."""

    chained: Chained
    depth: int

    @property
    def key(self) -> ListKey:
        """Run, layer and what the list is called."""
        chained = self.chained
        return ListKey(chained.entry.run, chained.layer, chained.list_of(self.depth))

    @property
    def noun(self) -> str:
        """What a unit is called."""
        return LATENT

    @property
    def about(self) -> str:
        """What the level is trained on."""
        return f"on {self.chained.entry.attrs[ON]}, k {self.chained.entry.attrs.get('k', '?')}"

    @cached_property
    def found(self) -> xr.Dataset:
        """What was found of the level."""
        assert self.chained.chain is not None
        return self.chained.chain.sel({DEPTH: self.depth}).load()

    @property
    def labels(self) -> list[str]:
        """Checkpoints, in training order."""
        return [str(label) for label in self.found[CHECKPOINT].values]

    def head(self) -> ListHead:
        """What there is of them."""
        n_latents = max(0, int(self.found["n_latents"].max()))
        columns = [Column(name="state", title="State", categories=STATES)]
        columns += [
            Column(name=name, title=title, is_log=name == "frequency")
            for name, title in _COLUMNS.items()
        ]
        classes = [str(each) for each in self.found[CLASS].values]
        columns.append(Column(name="best_class", title="Best class", categories=classes))
        value, other = (self.found["ev"].isel({CONTROL: row}).values for row in range(2))
        return ListHead(
            key=self.key,
            title=f"Latents of level {self.depth} of a chain of autoencoders",
            units=[*range(n_latents)],
            checkpoints=checkpoint_documents(self.found),
            columns=columns,
            remarks=[*self._remarks()],
            facts={
                "explained variance": value,
                f"of {self.found[CONTROL].values[1]}": other,
                "L0": self.found["l0"].isel({CONTROL: 0}).values,
            },
        )

    def _remarks(self) -> Iterator[str]:
        n_seeds = counted(int(self.found.attrs["n_seeds"]), "seed")
        yield f"One of {n_seeds}: what is not the same in others says nothing of the model"
        yield from dict.fromkeys(filter(None, map(str, self.found["stopped"].values)))

    def notes(self) -> Mapping[int, str]:
        """None: notes are of the latents of level 0."""
        return {}

    def numbers(self, checkpoint: int) -> Mapping[str, np.ndarray]:
        """Columns of all latents at a checkpoint."""
        units = slice(len(self.head().units))
        at = self.found.isel({CHECKPOINT: checkpoint, LATENT: units})
        numbers = {name: at[name].values.astype(float) for name in _COLUMNS}
        for name in ("n_parents", "best_class"):
            values = at[name].values.astype(float)
            numbers[name] = np.where(values >= 0, values, np.nan)
        state = np.where(numbers["frequency"] > 0, _FIRES, _DEAD)
        numbers["state"] = np.where(np.isfinite(numbers["frequency"]), state, np.nan)
        return numbers

    def top(self, checkpoint: int, units: Sequence[int]) -> np.ndarray:
        """None: which images drive a level's latents is not kept."""
        return np.full((len(units), 0), "")

    def parts(self, units: Sequence[int]) -> Sequence[Sequence[Part]]:
        """The graph about each of some latents."""
        return [self.chained.graph(self.depth, unit) for unit in units]

    def select(self, unit: int) -> str:
        """The line of Python that selects a latent."""
        key, contents = self.key, self.chained.asked.contents
        name, on = name_of(self.chained.entry), self.chained.entry.attrs[ON]
        run = f", run={key.run!r}" if len(contents.runs(KIND)) > 1 else ""
        of = f"dvis.chains({contents.name!r}, {key.layer!r}, {name!r}{run}, on={on!r})"
        seed = int(self.found[SEED])
        return f"{of}.sel(seed={seed}, depth={self.depth}, latent={unit})"

    def nearest(self, checkpoint: int, units: Sequence[int]) -> Nearest | None:
        """Not known of levels."""
        return None

    def keep_note(self, unit: int, text: str) -> None:
        """Refuse a note: a number of a level is another latent in each seed.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "notes are of latents of an autoencoder, and those of a level of a chain are others "
            "with each seed; write one of a latent of level 0"
        )

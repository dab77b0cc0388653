"""Latents as the page lists them: an autoencoder's latents with what was found of them.

Groups of a store in, plain numbers of a checkpoint and parts of a latent out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dvis.kinds.activations.read import READER as ACTIVATION_READER
from dvis.kinds.listed import Column, ListedUnits, ListHead, ListKey, Nearest
from dvis.kinds.parts import Asked, Part
from dvis.kinds.saes.chains.listed import Chained, listed_chains
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.found import SHARE, STATES, Found
from dvis.kinds.saes.lineage import begun_apart
from dvis.kinds.saes.nearest import Directions
from dvis.kinds.saes.parts import TITLES, names_table, parts_of
from dvis.kinds.saes.read import SAE_READER, activations_made_of, name_of
from dvis.kinds.saes.tracks.listed import Tracked, listed_tracks
from dvis.kinds.saes.words import KIND, is_autoencoders, is_evaluation, pictured_as
from dvis.kinds.shown import checkpoint_documents
from dvis.schema import CHECKPOINT, SchemaError, Status, counted
from dvis.store.contents import Entry
from dvis.store.unit_names import LatentName, names_of_autoencoder
from dvis.store.unit_notes import latent_notes, note

_N_TOP = 4
_FACTS = {"ev": "explained variance", "l0": "L0", "n_dead": "dead", "n_dense": "dense"}


def listed_latents(asked: Asked) -> Iterator[ListedUnits]:
    """The latents of each of a run's autoencoders, and below them those of levels of its chains."""
    entries = asked.contents.of(KIND, asked.run)
    evaluations = {_key(each): each for each in entries if is_evaluation(each.attrs)}
    chained, tracked = listed_chains(asked), listed_tracks(asked)
    for entry in entries:
        if is_autoencoders(entry.attrs):
            key = _key(entry)
            chains = [each for each in chained if _key(each.entry) == key]
            of_latents = key.run, key.layer, key.name
            tracks = [
                each
                for each in tracked
                if (each.entry.run, each.entry.attrs["layer"], each.of_list) == of_latents
            ]
            yield Latents(asked, entry, evaluations.get(key), chains, tracks)
            for each in chains:
                yield from each.levels()


def _key(entry: Entry) -> ListKey:
    return ListKey(entry.run, str(entry.attrs.get("layer")), name_of(entry))


@dataclass(frozen=True)
class Latents:
    """An autoencoder's latents."""

    asked: Asked
    entry: Entry
    evaluation: Entry | None
    chains: Sequence[Chained] = ()
    tracks: Sequence[Tracked] = ()

    @property
    def key(self) -> ListKey:
        """Run, layer and name of the autoencoder."""
        return _key(self.entry)

    @property
    def noun(self) -> str:
        """What a unit is called."""
        return LATENT

    @property
    def about(self) -> str:
        """How the codes are made sparse."""
        return f"{self.entry.attrs.get('kind', '')}, k {self.entry.attrs.get('k', '?')}"

    @cached_property
    def trained(self) -> xr.Dataset:
        """The autoencoders that are there."""
        dataset = self.asked.group(SAE_READER, self.entry)
        return dataset.isel({CHECKPOINT: dataset["status"].values == Status.COMPLETE})

    @cached_property
    def labels(self) -> list[str]:
        """Their checkpoints, in training order."""
        return [str(label) for label in self.trained[CHECKPOINT].values]

    @cached_property
    def found(self) -> Found | None:
        """What was found of them, with rows of the same checkpoints."""
        if self.evaluation is None:
            return None
        try:
            dataset = self.asked.group(SAE_READER, self.evaluation)
        except SchemaError:  # half grown; the next `dvis sae evaluate` repairs it
            return None
        is_there = dataset["status"].values == Status.COMPLETE
        is_there &= np.isin(dataset[CHECKPOINT].values, self.labels)
        return Found(dataset.isel({CHECKPOINT: is_there}), self._image_set, self._places)

    def _row(self, checkpoint: int) -> int | None:
        """Row of what was found at a checkpoint, None where nothing was."""
        if self.found is None or self.labels[checkpoint] not in self.found.labels:
            return None
        return self.found.labels.index(self.labels[checkpoint])

    @cached_property
    def _activations(self) -> Entry | None:
        """The activations that they are of, where the store has them."""
        key = self.key
        return activations_made_of(self.asked.contents, self.trained.attrs, key.layer, key.run)

    @property
    def _image_set(self) -> str:
        return "" if self._activations is None else str(self._activations.attrs["dataset"])

    @cached_property
    def _places(self) -> xr.Dataset | None:
        """Row and column of each token."""
        if self._activations is None:
            return None
        try:
            dataset = self.asked.group(ACTIVATION_READER, self._activations)
        except SchemaError:  # half grown; the next `dvis activations` repairs it
            return None
        return dataset.coords.to_dataset()[["row", "column"]]

    @cached_property
    def _directions(self) -> Directions:
        return Directions(self.trained["decoder"])

    def head(self) -> ListHead:
        """What there is of them."""
        return self._head

    @cached_property
    def _head(self) -> ListHead:
        key = self.key
        pictured = pictured_as(key.name)
        there = {each.name for each in self.asked.contents.entries if each.run == key.run}
        return ListHead(
            key=key,
            title="Latents of the sparse autoencoder",
            units=self.trained[LATENT].values.tolist(),
            checkpoints=checkpoint_documents(self.trained),
            columns=self._columns(),
            remarks=[*self._remarks()],
            image_set=self._image_set if self.found is not None else "",
            pictured=pictured if pictured in there else "",
            facts=self._facts(),
            names={unit: some[0].text for unit, some in self._names().items()},
        )

    def _facts(self) -> Mapping[str, np.ndarray]:
        rows = [self._row(checkpoint) for checkpoint in range(len(self.labels))]
        if self.found is None:
            return {}
        return {
            title: np.array([np.nan if row is None else float(values[row]) for row in rows])
            for values, title in ((self.found.dataset[n].values, t) for n, t in _FACTS.items())
        }

    def _columns(self) -> list[Column]:
        if self.found is None:
            return []
        columns = [
            Column(name="state", title="State", categories=STATES),
            Column(name="frequency", title="Frequency", is_log=True),
            Column(name="max", title="Max"),
        ]
        for name, shuffled in self.found.scored.items():
            null_title = f"{SHARE:.0%} of shuffled {shuffled}".replace("%", " %")
            title = TITLES[name][0]
            columns.append(
                Column(name=name, title=title, null=f"{name}_high", null_title=null_title)
            )
        if self.found.classes:
            columns.append(
                Column(name="best_class", title="Best class", categories=self.found.classes)
            )
        return columns

    def _remarks(self) -> Iterator[str]:
        if self.found is None:
            yield "They are not evaluated yet: dvis sae evaluate finds what each stands for"
        elif n_lacking := len(self.labels) - len(self.found.labels):
            yield f"{n_lacking} of {len(self.labels)} checkpoints are not evaluated yet"
        if len(self.labels) > 1 and not self.trained.attrs.get("warm_start"):
            yield (
                "Each checkpoint's autoencoder was trained from a start of its own: a number is "
                "another latent at another checkpoint, unless it was trained with --warm-start"
            )
        elif apart := begun_apart(self.trained):
            yield (
                f"{counted(len(apart), 'autoencoder')} did not begin from that of the checkpoint "
                f"before, such as that of {apart[0]}: a number is another latent there"
            )

    def notes(self) -> Mapping[int, str]:
        """What people wrote about some of them."""
        run_attrs = self.asked.contents.run_attrs.get(self.key.run, {})
        return latent_notes(run_attrs, self.key.layer, self.key.name)

    def numbers(self, checkpoint: int) -> Mapping[str, np.ndarray]:
        """Columns of all latents at a checkpoint."""
        row = self._row(checkpoint)
        if row is None or self.found is None:
            return {
                column.name: np.full(self.trained.sizes[LATENT], np.nan)
                for column in self._columns()
            }
        return self.found.numbers(row)

    def top(self, checkpoint: int, units: Sequence[int]) -> np.ndarray:
        """Ids of the best images of some latents."""
        row = self._row(checkpoint)
        if row is None or self.found is None:
            return np.full((len(units), 0), "")
        return self.found.top(row, self.found.places_of(units))[:, :_N_TOP]

    def parts(self, units: Sequence[int]) -> Sequence[Sequence[Part]]:
        """Parts of each of some latents."""
        own = [[] for _ in units] if self.found is None else parts_of(self.found, units)
        named = self._names()
        return [
            [
                *([names_table(named[unit])] if unit in named else []),
                *parts,
                *(part for each in self.tracks for part in each.parts(unit, self.found)),
                *(graph for each in self.chains for graph in each.graph(0, unit)),
            ]
            for unit, parts in zip(units, own, strict=True)
        ]

    def _names(self) -> Mapping[int, list[LatentName]]:
        """What programs called some of them, the newest first."""
        run_attrs = self.asked.contents.run_attrs.get(self.key.run, {})
        return names_of_autoencoder(run_attrs, self.key.layer, self.key.name)

    def select(self, unit: int) -> str:
        """The line of Python that selects a latent."""
        key, contents = self.key, self.asked.contents
        runs = contents.runs(KIND)
        run = f", run={key.run!r}" if len(runs) > 1 else ""
        of = "saes" if self.found is None else "latents"
        return f"dvis.{of}({contents.name!r}, {key.layer!r}, {key.name!r}{run}).sel(latent={unit})"

    def nearest(self, checkpoint: int, units: Sequence[int]) -> Nearest | None:
        """Latents whose decoder directions have the highest cosine with those of some."""
        return self._directions.nearest(checkpoint, list(units))

    def keep_note(self, unit: int, text: str) -> None:
        """Keep what somebody wrote about a latent."""
        key = self.key
        note(
            self.asked.contents.name,
            text,
            layer=key.layer,
            latent=unit,
            name=key.name,
            run=key.run,
        )

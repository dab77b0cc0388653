"""Controls of autoencoders that a store keeps: trained as they were, from what the store says.

A group's attributes in, numbers beside those of the autoencoder out.
"""

import json
from dataclasses import asdict, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL, VALUE
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.read import activations
from dvis.kinds.activations.words import KIND as ACTIVATIONS
from dvis.kinds.activations.words import Split
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.controls import CONTROLS, UNTRAINED, with_controls
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions
from dvis.kinds.saes.plan import forget_state, states_beside
from dvis.kinds.saes.words import CONTROLLED, KIND
from dvis.schema import CHECKPOINT, did_you_mean
from dvis.store.contents import contents
from dvis.store.group import Group

FIRST = "first"  # checkpoint of the autoencoders, in place of its label


class Controls:
    """Controls of the autoencoders of a name, one after the other.

    Parameters
    ----------
    store : Path
        The store.
    trained : Dataset
        The autoencoders, as `dvis.saes` gives them.
    split : {"train", "held_out", "all"}
        On which samples all are evaluated.
    untrained : str, optional
        A run, or a checkpoint of theirs, at which the network was not trained; "first" is their
        first checkpoint.
    device : str
        Where controls are trained.

    Raises
    ------
    KeyError
        When there is no such run or checkpoint.
    ValueError
        When the store does not say how they were trained.

    Notes
    -----
    Controls start anew at each checkpoint, also where the autoencoders went on from the one before.
    """

    what = "controls"
    why_not = ""

    def __init__(
        self,
        store: Path,
        trained: xr.Dataset,
        split: Split,
        untrained: str | None = None,
        device: str = "cpu",
    ) -> None:
        run, called = str(trained.attrs["run"]), str(trained.attrs["name"])
        (entry,) = (each for each in contents(store).of(KIND, run) if each.name == called)
        names = [each.name for each in fields(SaeOptions)]
        if any(name not in entry.attrs for name in ("n_steps", "batch_size", *names)):
            raise ValueError(
                f"the store does not say how {called!r} was trained, as of one that was imported, "
                "so that no control can be trained alike; leave --controls out"
            )
        self._store, self._attrs, self._split = store, entry.attrs, split
        self.options = SaeOptions(**{name: entry.attrs[name] for name in names})
        self._steps = PassOptions(n_steps=int(entry.attrs["n_steps"]), device=device)
        self._untrained = untrained
        self.labels: tuple[str, ...] = (VALUE, *CONTROLS, *((UNTRAINED,) if untrained else ()))
        # The last one marks that all are there: it is a number whatever was trained.
        names = sorted(CONTROLLED, key=lambda name: name == "l0")
        self.arrays: tuple[str, ...] = (CONTROL, *(f"{CONTROL}_{name}" for name in names))
        self.attrs: dict[str, Any] = {}
        if untrained is not None:  # raises before anything is trained
            _, label = self._place_of_untrained()
            self.attrs["untrained"] = label if untrained == FIRST else untrained

    def found(
        self, group: Group, one: Autoencoder, rows: ActivationRows, label: str
    ) -> dict[str, np.ndarray]:
        """Numbers of an autoencoder and of its controls, (control,), by names of the group."""
        state = self._state(rows, label)
        found = with_controls(
            one,
            self.options,
            self._rows(label, "train"),
            self._steps,
            held_out=rows,
            state=state,
            others={UNTRAINED: self._of_untrained} if self._untrained else None,
        )
        places = [group.rows[CONTROL][each] for each in found[CONTROL].values.tolist()]
        values = {}
        for name in CONTROLLED:
            of_all = np.full(len(group.rows[CONTROL]), np.nan)
            of_all[places] = found[name].values
            values[f"{CONTROL}_{name}"] = of_all
        forget_state(self._store, state)
        return values

    @cached_property
    def _of_untrained(self) -> tuple[Autoencoder, ActivationRows]:
        """The untrained network's autoencoder, and the rows on which it is evaluated."""
        run, label = self._place_of_untrained()
        rows = self._rows(label, "train", run)
        (trained,) = train(rows, [self.options], self._steps)
        return trained.autoencoder, self._rows(label, self._split, run)

    def _place_of_untrained(self) -> tuple[str, str]:
        """Run and checkpoint whose network is not trained."""
        assert self._untrained is not None
        found, own = contents(self._store), str(self._attrs["run"])
        runs = found.runs(ACTIVATIONS)
        if self._untrained in runs and self._untrained != own:
            return self._untrained, self._labels_of(self._untrained)[0]
        labels = self._labels_of(own)
        if self._untrained == FIRST and FIRST not in labels:
            return own, labels[0]
        if self._untrained not in labels:
            there = [*(run for run in runs if run != own), *labels]
            where = f"the activations of {self._attrs['layer']}"
            raise KeyError(did_you_mean("run or checkpoint", self._untrained, there, where))
        return own, self._untrained

    def _labels_of(self, run: str) -> list[str]:
        """Checkpoints of a run's activations of the layer, in training order."""
        kept = activations(
            self._store, str(self._attrs["layer"]), self._name(run), run, allow_partial=True
        )
        return [str(label) for label in kept[CHECKPOINT].values]

    def _name(self, run: str) -> str | None:
        """Name of the activations: that which was trained on, of its own run; else the only one."""
        return str(self._attrs["activations"]) if run == self._attrs["run"] else None

    def _rows(self, label: str, split: Split, run: str | None = None) -> ActivationRows:
        of_run = run or str(self._attrs["run"])
        return ActivationRows.open(
            self._store,
            str(self._attrs["layer"]),
            label,
            name=self._name(of_run),
            run=of_run,
            split=split,
            batch_size=int(self._attrs["batch_size"]),
        )

    def _state(self, rows: ActivationRows, label: str) -> Path:
        """Where the state of the controls' training lies, beside the store."""
        how = [asdict(self.options), self._steps.n_steps, self._attrs["batch_size"]]
        facts: list[Any] = [self._attrs["run"], self._attrs["name"], label, rows.fingerprint, how]
        number = blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest()
        return states_beside(self._store) / f"controls-{number}"

"""Probes of autoencoders that a store keeps: on both splits of the samples of their activations.

A group's attributes in, numbers of an evaluation out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.read import activations
from dvis.kinds.activations.words import Split
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.probes import probe_attrs, probe_samples, probed
from dvis.kinds.saes.store_options import EvaluateOptions
from dvis.kinds.saes.words import PROBES
from dvis.store.group import Group

_SEED = 0


class Probes:
    """Linear probes of rows, reconstructions and codes, and the best latent of each class.

    Parameters
    ----------
    store : Path
        The store.
    trained : Dataset
        The autoencoders, as `dvis.saes` gives them.
    options : EvaluateOptions
        Of which shuffles count; whatever their split, probes learn on the training split and are
        scored on what is held out.
    """

    what = "probes"
    labels: tuple[str, ...] = ()
    # The last one marks that all are there: an accuracy is a number whatever was trained.
    arrays: tuple[str, ...] = (
        "null_probe_latent_auroc",
        *sorted(PROBES, key=lambda name: name == "probe_accuracy"),
    )

    def __init__(self, store: Path, trained: xr.Dataset, options: EvaluateOptions) -> None:
        name = trained.attrs.get("activations")
        self._store, self._options = store, options
        self._run = str(trained.attrs["run"])
        self._name = None if name is None else str(name)
        kept = activations(store, options.layer, self._name, self._run, allow_partial=True)
        is_held, labels = kept["is_held_out"].values, kept["label"].values
        sides = labels[~is_held], labels[is_held]
        self.attrs: dict[str, Any] = {}
        self.why_not = ""
        try:
            chosen = probe_samples(*sides, len(kept.attrs["classes"]), seed=_SEED)
        except ValueError as err:
            self.why_not = str(err)
        else:
            of_both = (each[places] for each, places in zip(sides, chosen, strict=True))
            self.attrs = dict(probe_attrs(*of_both, seed=_SEED))

    def found(
        self, group: Group, one: Autoencoder, rows: ActivationRows, label: str
    ) -> dict[str, np.ndarray]:
        """Accuracies, latents and their scores (class,), and those by shuffled labels."""
        found = probed(
            one,
            self._rows(label, "train"),
            self._rows(label, "held_out"),
            n_shuffles=self._options.n_shuffles,
            seed=_SEED,
        )
        return {name: np.asarray(found[name].values) for name in self.arrays}

    def _rows(self, label: str, split: Split) -> ActivationRows:
        return ActivationRows.open(
            self._store,
            self._options.layer,
            label,
            name=self._name,
            run=self._run,
            split=split,
            batch_size=1,
        )

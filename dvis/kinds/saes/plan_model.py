"""What autoencoders of a store do to the model that their rows are of.

Checkpoint files and the image set of the activations in, arrays of an evaluation out.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.analysis.control import CONTROL, VALUE
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.read import entry_of
from dvis.kinds.saes.dims import CLASS
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import image_scores
from dvis.kinds.saes.measure.downstream import RANDOM_DIRECTION, downstream, logit_effects
from dvis.kinds.saes.measure.embeddings import penultimate
from dvis.kinds.saes.measure.mono_score import mono_score
from dvis.kinds.saes.plan import weights_of
from dvis.kinds.saes.store_options import EvaluateOptions
from dvis.kinds.saes.words import (
    DOWNSTREAM,
    EFFECT,
    MEAN_COSINE,
    MONO_SCORE,
    N_EFFECT_IMAGES,
    NULL_MONO_SCORE,
)
from dvis.models.architectures import load_fitted
from dvis.models.checkpoints import find_checkpoints
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.schema import CHECKPOINT, did_you_mean
from dvis.store.contents import Entry, contents, open_group
from dvis.store.datasets import SAMPLE, open_dataset
from dvis.store.group import Group
from dvis.sweep.run_facts import read_run

Found = dict[str, np.ndarray]
_BATCH = 64
_MOST_EFFECT_IMAGES = 512  # that are looked through for those of a latent's largest codes
_SAMPLES_AN_EFFECT = 8  # two passes over 16 images are as long as four over 8 samples
EMBEDDING = "embedding"  # attribute: by what images look alike
OWN = "what the model's own last layer takes"


class Network:
    """A model at the checkpoints of a run, and the pictures that its activations are of.

    Parameters
    ----------
    store : Path
        The store.
    trained : Dataset
        Autoencoders of it, as `dvis.saes` gives them.
    options : EvaluateOptions
        With a model.

    Raises
    ------
    FileNotFoundError
        When there are no checkpoint files, or no pictures.
    ValueError
        When the pictures are others than the activations are of.
    """

    def __init__(self, store: Path, trained: xr.Dataset, options: EvaluateOptions) -> None:
        self._store, self._options = store, options
        name = trained.attrs.get("activations")
        run = str(trained.attrs["run"])
        self.entry: Entry = entry_of(
            contents(store),
            options.layer,
            None if name is None else str(name),
            run,
            with_values=True,
        )
        self._weights = weights_of(store, self.entry)
        files = find_checkpoints(options.checkpoint_path, weights_key=options.weights_key)
        self._run = read_run(files)
        self.images = _images(store, self.entry, options)
        self._place_of = {each: i for i, each in enumerate(self.images.images.sample_ids)}
        self._loaded: tuple[str, nn.Module] | None = None

    def at(self, label: str) -> nn.Module:
        """The model at a checkpoint.

        Raises
        ------
        ValueError
            When there is no file of the checkpoint, or another than the activations are of, also of
            the same weights, saved with other facts or in another format.
        """
        if self._loaded is None or self._loaded[0] != label:
            files = {each.label: each for each in self._run.checkpoints}
            if label not in files:
                raise ValueError(did_you_mean("checkpoint", label, files, "the model's files"))
            if self._run.fingerprints.get(label, 0) != self._weights[label]:
                raise ValueError(
                    f"the weights in {files[label].path} are not those that the activations of "
                    f"{label} are of, or were saved anew since: contents of files are compared, "
                    "not tensors. Give the files that the activations were made with"
                )
            assert self._options.model is not None
            model = load_fitted(self._options.model, files[label])[0]
            self._loaded = label, model.to(self._options.device)
        return self._loaded[1]

    def batches(self, rows: ActivationRows) -> Iterator[tuple[Tensor, Tensor]]:
        """Images of a split's samples as the model takes them, and their labels."""
        for first in range(0, rows.n_samples, _BATCH):
            some = np.arange(first, min(first + _BATCH, rows.n_samples))
            yield self.pictures(rows, some), torch.from_numpy(rows.labels[some])

    def pictures(self, rows: ActivationRows, samples: np.ndarray) -> Tensor:
        """Images (sample, channel, y, x) of some of a split's samples."""
        places = np.array([self._place_of[each] for each in rows.sample_ids[samples].tolist()])
        return self.images.at(places, torch.zeros(1))

    def require_classes(self, label: str, rows: ActivationRows) -> None:
        """Raise where the model's outputs are not the classes of the set."""
        with torch.no_grad():
            pictures = self.pictures(rows, np.arange(1))
            logits = self.at(label)(pictures.to(self._options.device))
        if tuple(logits.shape) != (1, len(rows.classes)):
            raise ValueError(
                f"the model gives outputs of shape {tuple(logits.shape[1:])}, and the set has "
                f"{len(rows.classes)} classes: its loss on them means nothing"
            )

    @cached_property
    def tokens(self) -> np.ndarray | None:
        """Which of a layer's tokens the rows are; None for all."""
        if self.entry.attrs["tokens"] == "mean":
            raise ValueError("the activations are means over tokens, which no model can be given")
        if self.entry.attrs["tokens"] == "all":
            return None
        group: Any = open_group(self._store, self.entry)
        return np.asarray(group["place"][:])


class Downstream:
    """Losses of the model with reconstructions for a layer's rows."""

    what = "losses of the model"
    why_not = ""
    labels: tuple[str, ...] = ()
    arrays: tuple[str, ...] = tuple(reversed(DOWNSTREAM))

    def __init__(self, network: Network, options: EvaluateOptions) -> None:
        self._network, self._options = network, options
        self.attrs: dict[str, Any] = {}

    def found(self, group: Group, one: Autoencoder, rows: ActivationRows, label: str) -> Found:
        """Losses and the share that is recovered; the clean loss comes last."""
        network = self._network
        model = network.at(label)
        network.require_classes(label, rows)
        found = downstream(
            one,
            model,
            self._options.layer,
            network.batches(rows),
            mean=rows.mean,
            tokens=network.tokens,
        )
        return {name: np.asarray(found[name].values) for name in self.arrays}


class Effects:
    """How class logits move where a latent is taken out, of those that fire most."""

    what = "effects on logits"
    why_not = ""
    labels: tuple[str, ...] = (VALUE, RANDOM_DIRECTION)
    arrays: tuple[str, ...] = (CONTROL, EFFECT, N_EFFECT_IMAGES)

    def __init__(self, network: Network, options: EvaluateOptions) -> None:
        self._network, self._options = network, options
        n_asked = options.n_effects
        self.attrs: dict[str, Any] = {} if n_asked is None else {"n_effects": n_asked}

    def found(self, group: Group, one: Autoencoder, rows: ActivationRows, label: str) -> Found:
        """Effects (control, latent, class), NaN of other latents, and numbers of images."""
        network, n_asked = self._network, self._options.n_effects
        model = network.at(label)
        network.require_classes(label, rows)
        n_latents = max(1, rows.n_samples // _SAMPLES_AN_EFFECT) if n_asked is None else n_asked
        frequency = np.asarray(group.array("frequency")[group.rows[CHECKPOINT][label]])
        order = np.argsort(-frequency, kind="stable")[:n_latents]
        chosen = np.sort(order[frequency[order] > 0])
        n_images = min(rows.n_samples, _MOST_EFFECT_IMAGES)
        samples = np.unique(np.linspace(0, rows.n_samples - 1, n_images).astype(int))
        shape = (len(group.rows[CONTROL]), one.n_latents, len(group.rows[CLASS]))
        effects, counts = np.full(shape, np.nan, np.float32), np.zeros(one.n_latents, np.int64)
        if len(chosen):
            found = logit_effects(
                one,
                model,
                self._options.layer,
                network.pictures(rows, samples),
                latents=chosen,
                classes=rows.classes,
                tokens=network.tokens,
            )
            for control in self.labels:
                place = group.rows[CONTROL][control]
                effects[place, chosen] = found["effect"].sel({CONTROL: control}).values
            counts[chosen] = found["n_images"].values
        return {EFFECT: effects, N_EFFECT_IMAGES: counts}


class MonoScores:
    """Whether the images that drive a latent look alike, by the model or by embeddings."""

    what = "MonoScores"
    why_not = ""
    labels: tuple[str, ...] = ()
    arrays: tuple[str, ...] = (MONO_SCORE, NULL_MONO_SCORE, MEAN_COSINE)

    def __init__(
        self, store: Path, trained: xr.Dataset, network: Network | None, options: EvaluateOptions
    ) -> None:
        self._network, self._options = network, options
        self._embeddings: np.ndarray | None = None
        if options.embeddings is not None:
            self._embeddings = np.load(options.embeddings, allow_pickle=False)
            ids = open_dataset(store, str(trained.attrs["dataset"]))[SAMPLE].values
            if self._embeddings.ndim != 2 or len(self._embeddings) != len(ids):
                raise ValueError(
                    f"{options.embeddings} has shape {self._embeddings.shape}; give (sample, "
                    f"feature) of the {len(ids)} samples of the set, in their order"
                )
            self._place_of = {each: place for place, each in enumerate(ids.tolist())}
        by = OWN if options.embeddings is None else options.embeddings.name
        self.attrs: dict[str, Any] = {EMBEDDING: by}

    def found(self, group: Group, one: Autoencoder, rows: ActivationRows, label: str) -> Found:
        """Scores (latent,), those of shuffled images (shuffle, latent), and the mean of all."""
        if self._embeddings is not None:
            places = [self._place_of[each] for each in rows.sample_ids.tolist()]
            embeddings = self._embeddings[places]
        else:
            assert self._network is not None
            images = (images for images, _ in self._network.batches(rows))
            embeddings, _ = penultimate(self._network.at(label), images)
        options = self._options
        scores = image_scores(one, rows, options.scores[0], class_token=options.class_token)
        found = mono_score(scores, embeddings, n_shuffles=options.n_shuffles)
        return {name: np.asarray(found[name].values) for name in self.arrays}


def _images(store: Path, entry: Entry, options: EvaluateOptions) -> FixedImages:
    """The pictures that activations are of, as the model takes them."""
    attrs = open_dataset(store, str(entry.attrs["dataset"])).attrs
    transform = InputTransform.from_dict(entry.attrs["transform"])
    dataset, _, split = str(attrs["name"]).rpartition("/")
    # Sets that an earlier dvis kept do not say how they were loaded.
    told: dict[str, Any] = {"dataset": dataset, "split": split, "size": transform.size}
    told |= {"n_samples": None, "seed": 0, "data_path": None, **attrs.get("loaded", {})}
    if options.dataset is not None:
        told["dataset"] = options.dataset
    if options.data_path is not None:
        told["data_path"] = options.data_path
    images = load_images(told.pop("dataset"), told.pop("data_path"), **told)
    if images.fingerprint != entry.attrs["fingerprint"]:
        raise ValueError(
            f"the pictures of {images.name} are not those that the activations {entry.name!r} are "
            f"of: {images.fingerprint} here, {entry.attrs['fingerprint']} there. Give theirs with "
            "--dataset and --data-path"
        )
    return FixedImages.of(images, transform)

"""What classes follow from which latents, by classifiers that people can read.

A store and autoencoders in; accuracies beside what they are held against, rules and weights out.
Nothing here writes. Without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.trajectories import origin
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.saes.dims import CLASS, LATENT, SHUFFLE, quantity
from dvis.kinds.saes.read import name_in_layer, saes
from dvis.kinds.saes.search import label_of, largest_codes
from dvis.kinds.saes.words import WEIGHTS
from dvis.models.torch_guard import needing_torch
from dvis.schema import CHECKPOINT, LAYER, UNIT_NOTE, counted
from dvis.store.contents import StoreLike, resolve
from dvis.store.datasets import SAMPLE, open_dataset

if TYPE_CHECKING:
    from dvis.analysis.linear_probes import Splits
    from dvis.kinds.saes.measure.simple_classifiers import Chosen

Floats = NDArray[np.float64]

CLASSIFIER, INPUT, RULE, EXAMPLE = "classifier", "input", "rule", "example"
TREE, SPARSE = "tree", "sparse"
LATENTS, CHANNELS = "latents", "channels"
_MOST_SAMPLES = 6000  # of a split, at random
_LEAST_HELD = 20
_NORMAL = 1.96  # standard errors that hold 95 %
_VALIDATION = 0.25  # of the training split
_CANNOT_TELL = (
    "whether the model uses these latents: a rule says what goes with a class, not what makes the "
    "model say it; nor what it learnt: latents of the network untrained tell classes too, so "
    "explain its checkpoint beside it; nor how rules do on images that the model has not learnt "
    "from. Rules of another seed or split may name other latents that go with the same"
)


def explain_latents(
    store: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    checkpoint: str = "last",
    logits: str | None = None,
    n_shuffles: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """A decision tree and a sparse linear classifier of classes by an autoencoder's latents.

    An image's score of a latent is its largest code over tokens, of a channel its largest
    activation. Both classifiers learn on the samples that are not held out, a quarter of which
    choose the depth of the tree and the penalty: the simplest within a standard error of the best.
    Encodes and fits when it is called.

    Parameters
    ----------
    store, layer, name, run
        As `dvis.saes` takes them; the store has activations of the layer.
    checkpoint : str
        Label of the checkpoint; "last" for the last that has autoencoders.
    logits : str, optional
        Layer that gives the model's logits, of which the store has activations of the same samples:
        then the model's accuracy is of the same samples. By default it is that which the training
        recorded of its validation images.
    n_shuffles : int
        Of classes over samples, for the null: both classifiers are fitted anew.
    seed : int
        Of the validation samples, the fits and the shuffles.

    Returns
    -------
    Dataset
        - `accuracy` (classifier, input), of samples held out, by "tree" and "sparse" of "latents"
          and "channels", with `accuracy_se`, by a bootstrap over samples, and `null_accuracy`
          (shuffle, classifier, input); `setting`, depth or C; `n_used`, inputs that it uses;
        - `majority`, accuracy of always saying the commonest class; `model_accuracy`, and
          `attrs["model_accuracy_of"]`, of which images, NaN where nothing is known;
        - of the tree of latents `rule` (rule), text, `rule_class`, `rule_n` and `rule_right`, held
          out samples that it is of and that are of its class, and `rule_low`, `rule_high` (rule,
          latent), which a score exceeds and does not exceed, and `rule_example` (rule, example),
          ids of samples that it is of, those held out first;
        - `weight` (class, latent), of the sparse classifier of scores as they are.

    Raises
    ------
    KeyError, FileNotFoundError, SchemaError
        As `dvis.saes` does, or when there is no such checkpoint or layer of logits.
    ValueError
        When samples have no classes, or fewer than 20 are held out.
    ImportError
        When scikit-learn is not installed.
    """
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}; give 0 or more")
    resolved = resolve(store, None)
    trained = saes(resolved, layer, name, run)
    label = label_of(trained, checkpoint)
    task = _Task.of(resolved, trained, label, seed)
    fits = {key: task.fitted(*key, task.labels) for key in task.keys}
    found = _accuracies(task, fits, n_shuffles)
    model, of_images = _model_accuracy(resolved, trained, label, logits, task)
    found["model_accuracy"] = quantity((), model, "accuracy of the model")
    found = found.assign(_weights(fits[SPARSE, LATENTS].fit, task))
    found = found.assign_coords({LATENT: trained[LATENT].values, CLASS: [*task.classes]})
    if UNIT_NOTE in trained.coords:
        found = found.assign_coords({UNIT_NOTE: trained[UNIT_NOTE]})
    told = {
        **origin(trained),
        LAYER: layer,
        "name": name_in_layer(trained),
        CHECKPOINT: label,
        "seed": seed,
        "n_train": len(task.splits.train) + len(task.splits.validation),
        "n_held_out": len(task.splits.held_out),
        "model_accuracy_of": of_images,
        "is_converged": int(all(fit.is_converged for fit in fits.values())),
        "cannot_tell": _CANNOT_TELL,
    }
    explained = found.assign(_rules(fits[TREE, LATENTS].fit, task, found)).assign_attrs(told)
    explained.encoding = dict(trained.encoding)
    return explained


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """Scores of samples by latents and by channels, their classes, and what is for what.

    Attributes
    ----------
    inputs : dict of str to ndarray, (sample, latent) or (sample, channel)
        Scores.
    labels : ndarray, (sample,), int64
        Classes.
    splits : Splits
        Places of samples.
    classes : tuple of str
        Names of classes.
    ids : ndarray, (sample,), str
        Ids of samples.
    seed : int
        Of fits and shuffles.
    """

    inputs: dict[str, Floats]
    labels: NDArray[np.int64]
    splits: "Splits"
    classes: tuple[str, ...]
    ids: np.ndarray
    seed: int

    keys: ClassVar = tuple((c, i) for c in (TREE, SPARSE) for i in (LATENTS, CHANNELS))

    @classmethod
    def of(cls, store: StoreLike, trained: xr.Dataset, label: str, seed: int) -> Self:
        """What the store has at a checkpoint, at most so many samples of each split."""
        layer, run = str(trained.attrs["layer"]), str(trained.attrs["run"])
        name = trained.attrs.get("activations")
        rows = ActivationRows.open(
            store, layer, label, name=name, run=run, split="all", batch_size=1
        )
        kept, splits = _splits(store, trained, rows, seed)
        at = trained[[*WEIGHTS]].sel({CHECKPOINT: label}).load()
        codes = np.concatenate([*largest_codes(at, trained.attrs, rows, kept)])
        return cls(
            inputs={
                LATENTS: codes.astype(np.float64),
                CHANNELS: _largest_activations(rows, kept),
            },
            labels=rows.labels[kept],
            splits=splits,
            classes=rows.classes,
            ids=rows.sample_ids[kept],
            seed=seed,
        )

    def fitted(
        self, classifier: str, of: str, labels: NDArray[np.int64], setting: float | None = None
    ) -> "Chosen":
        """A classifier of some inputs; of a setting that is given, or of the one that is chosen."""
        from dvis.kinds.saes.measure.simple_classifiers import (
            DEPTHS,
            STRENGTHS,
            decision_tree,
            sparse_classifier,
        )

        given = self.inputs[of], labels, self.splits
        if classifier == TREE:
            depths = DEPTHS if setting is None else (int(setting),)
            return decision_tree(*given, depths, self.seed)
        return sparse_classifier(*given, STRENGTHS if setting is None else (setting,), self.seed)


def _accuracies(
    task: _Task, fits: "Mapping[tuple[str, str], Chosen]", n_shuffles: int
) -> xr.Dataset:
    """How well each classifier tells samples held out, beside the same of classes shuffled."""
    from dvis.analysis.linear_probes import errors_of_accuracies

    held, labels, dims = task.splits.held_out, task.labels, (CLASSIFIER, INPUT)
    is_right = {key: fit.predicted == labels for key, fit in fits.items()}
    errors = {key: errors_of_accuracies(each, task.splits)[2] for key, each in is_right.items()}
    generator, null = np.random.default_rng(task.seed), []
    for _ in range(n_shuffles):
        other = generator.permutation(labels)
        again = {key: task.fitted(*key, other, fit.setting).predicted for key, fit in fits.items()}
        null.append(_grid({key: (each == other)[held].mean() for key, each in again.items()}))
    accuracy = quantity(
        dims,
        _grid({key: right[held].mean() for key, right in is_right.items()}),
        "accuracy on samples held out",
        **{EXCHANGEABLE: "classes of samples"},
    )
    shuffled = np.array(null).reshape(n_shuffles, 2, 2)
    settings = _grid({key: fit.setting for key, fit in fits.items()})
    used = _grid({(c, i): _n_used(fit.fit, c) for (c, i), fit in fits.items()})
    commonest = np.bincount(labels[task.splits.train]).argmax()
    return xr.Dataset(
        {
            "accuracy": accuracy,
            "accuracy_se": quantity(dims, _grid(errors), "standard error of the accuracy"),
            "null_accuracy": quantity((SHUFFLE, *dims), shuffled, "accuracy, classes shuffled"),
            "setting": quantity(dims, settings, "depth of the tree, C of the penalty"),
            "n_used": quantity(dims, used, "inputs that are used"),
            "majority": quantity((), (labels[held] == commonest).mean(), "accuracy of one class"),
        },
        {CLASSIFIER: [TREE, SPARSE], INPUT: [LATENTS, CHANNELS]},
    )


def _grid(numbers: Mapping[tuple[str, str], float]) -> Floats:
    """Numbers by classifier and input, (classifier, input)."""
    return np.array([[numbers[c, i] for i in (LATENTS, CHANNELS)] for c in (TREE, SPARSE)], float)


def _n_used(fit: Any, classifier: str) -> int:
    """Inputs that a fitted classifier looks at."""
    if classifier == SPARSE:
        return int((fit.coef_ != 0).any(0).sum())
    asked = fit.tree_.feature
    return len(np.unique(asked[asked >= 0]))


def _splits(
    store: StoreLike, trained: xr.Dataset, rows: ActivationRows, seed: int
) -> tuple[NDArray[np.int64], "Splits"]:
    """Places of samples that are taken among the rows' samples, and splits of these."""
    with needing_torch("explaining latents"):
        from dvis.analysis.linear_probes import Splits

    table = open_dataset(store, str(trained.attrs["dataset"]))
    held_of = dict(zip(table[SAMPLE].values.tolist(), table["is_held_out"].values, strict=True))
    is_held = np.array([bool(held_of[each]) for each in rows.sample_ids.tolist()])
    generator = np.random.default_rng(seed)
    is_known = rows.labels >= 0
    train, held = (
        np.sort(generator.permutation(np.flatnonzero(each & is_known))[:_MOST_SAMPLES])
        for each in (~is_held, is_held)
    )
    n_classes = len(np.unique(rows.labels[train]))
    if len(held) < _LEAST_HELD or n_classes < 2:
        raise ValueError(
            f"{counted(len(held), 'sample')} of a class {'is' if len(held) == 1 else 'are'} held "
            f"out, and the others are of {counted(n_classes, 'class', 'classes')}; classifiers "
            f"need {_LEAST_HELD} and 2. Keep activations of more samples of labelled images"
        )
    kept = np.concatenate([train, held])
    order = generator.permutation(len(train))
    n_validation = max(1, round(_VALIDATION * len(train)))
    return kept, Splits(
        train=np.sort(order[n_validation:]),
        validation=np.sort(order[:n_validation]),
        held_out=np.arange(len(train), len(kept)),
    )


def _largest_activations(rows: ActivationRows, samples: NDArray[np.int64]) -> Floats:
    """Largest activation over tokens of each channel, (sample, channel)."""
    n_tokens = rows.n_tokens
    found = np.empty((len(samples), rows.n_channels))
    for place, each in enumerate(samples.tolist()):
        found[place] = rows.rows(each * n_tokens, (each + 1) * n_tokens).max(0)
    return found


def _model_accuracy(
    store: StoreLike, trained: xr.Dataset, label: str, logits: str | None, task: _Task
) -> tuple[float, str]:
    """The model's own accuracy, and of which images; NaN where the store does not have it."""
    run = str(trained.attrs["run"])
    if logits is None:
        recorded = trained.get("val_accuracy")
        value = np.nan if recorded is None else float(recorded.sel({CHECKPOINT: label}))
        if np.isfinite(value):
            return value, "validation images of the training, not the samples held out"
        return np.nan, "not known: give the layer of its logits, whose activations the store keeps"
    outputs = ActivationRows.open(store, logits, label, run=run, split="all", batch_size=1)
    if outputs.n_tokens != 1 or outputs.n_channels != len(task.classes):
        raise ValueError(
            f"{logits} gives {counted(outputs.n_tokens, 'token')} of {outputs.n_channels} "
            f"channels, no logits of {len(task.classes)} classes; give the layer of logits"
        )
    places = {each: place for place, each in enumerate(outputs.sample_ids.tolist())}
    held = task.splits.held_out
    missing = [each for each in task.ids[held].tolist() if each not in places]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(held)} samples held out have no activations of {logits}, such "
            f"as {missing[0]!r}; keep those of the same image set"
        )
    own = [places[each] for each in task.ids[held].tolist()]
    said = np.array([outputs.rows(place, place + 1)[0].argmax() for place in own])
    return float((said == task.labels[held]).mean()), "the same samples held out"


def _weights(fit: Any, task: _Task) -> dict[str, xr.Variable]:
    """Weights of the sparse classifier, of scores as they are, (class, latent)."""
    inputs = task.inputs[LATENTS]
    scale = np.abs(inputs[task.splits.train]).max(0)
    weights = np.zeros((len(task.classes), inputs.shape[1]))
    rows = fit.coef_ if len(fit.coef_) > 1 else np.concatenate([-fit.coef_, fit.coef_]) / 2
    weights[fit.classes_] = rows / np.where(scale > 0, scale, 1)
    return {"weight": quantity((CLASS, LATENT), weights, "log odds a unit of the score")}


def _rules(fit: Any, task: _Task, found: xr.Dataset) -> dict[str, xr.Variable]:
    """The rules of the tree of latents, as text and as numbers."""
    from dvis.kinds.saes.measure.simple_classifiers import N_EXAMPLES, rules_of

    rules = rules_of(fit, task.inputs[LATENTS], task.labels, task.splits)
    numbers = found[LATENT].values.tolist()
    notes = found[UNIT_NOTE].values.tolist() if UNIT_NOTE in found.coords else [""] * len(numbers)
    names = [
        f"latent {n}" + (f" ({note})" if note else "")
        for n, note in zip(numbers, notes, strict=True)
    ]
    low, high = (np.full((len(rules), len(numbers)), sign * np.inf) for sign in (-1, 1))
    examples = np.full((len(rules), N_EXAMPLES), "", object)
    for place, rule in enumerate(rules):
        examples[place, : len(rule.examples)] = task.ids[[*rule.examples]]
        for latent, (above, upto) in rule.bounds.items():
            low[place, latent], high[place, latent] = above, upto
    texts = [in_words(rule.bounds, names, task.classes[rule.label]) for rule in rules]
    return {
        RULE: quantity(RULE, np.array(texts, str), "rule"),
        "rule_class": quantity(RULE, [rule.label for rule in rules], "class that the rule says"),
        "rule_n": quantity(RULE, [rule.n_held_out for rule in rules], "samples held out in it"),
        "rule_right": quantity(RULE, [rule.n_right for rule in rules], "of these of its class"),
        "rule_example": quantity((RULE, EXAMPLE), examples.astype(str), "sample that it is of"),
        "rule_low": quantity((RULE, LATENT), low, "what a score exceeds"),
        "rule_high": quantity((RULE, LATENT), high, "what a score does not exceed"),
    }


def share_interval(n_right: int, n_all: int) -> tuple[float, float]:
    r"""Between which shares the true one lies with 95 %, by Wilson (1927), doi:10.2307/2276774.

    With z of 1.96 and the share p of n, :math:`(p + z^2/2n \pm z \sqrt{p(1-p)/n + z^2/4n^2}) / (1 +
    z^2/n)`; 0 and 1 of none.

    Examples
    --------
    >>> [round(each, 2) for each in share_interval(9, 10)]
    [0.6, 0.98]
    """
    if not n_all:
        return 0.0, 1.0
    share, spread = n_right / n_all, _NORMAL**2 / n_all
    reach = _NORMAL * (share * (1 - share) / n_all + spread / (4 * n_all)) ** 0.5
    middle = share + spread / 2
    return (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)


def in_words(
    bounds: Mapping[int, tuple[float, float]], names: Sequence[str], class_name: str
) -> str:
    """A rule as a sentence.

    Examples
    --------
    >>> in_words({0: (0.4, np.inf), 1: (-np.inf, 0.0)}, ["latent 12", "latent 3"], "owl")
    'IF latent 12 > 0.4 AND latent 3 <= 0 THEN owl'
    """
    said = []
    for place, (low, high) in bounds.items():
        said += [f"{names[place]} > {low:.3g}"] if np.isfinite(low) else []
        said += [f"{names[place]} <= {high:.3g}"] if np.isfinite(high) else []
    return f"IF {' AND '.join(said) or 'anything'} THEN {class_name}"

"""Classifiers that people can read: a decision tree, and few weights, by scikit-learn.

Inputs and classes of samples in three splits in; what they say, how simple they are, and a tree's
rules out.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from dvis.analysis.linear_probes import Splits

DEPTHS = (1, 2, 3, 4, 5, 6, 7, 8)
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # C of the L1 penalty, the sparsest first
MAX_STEPS = 1000
_LEAST_LEAF = 2  # training samples of a rule
_TOLERANCE = 1e-3

Floats = NDArray[np.float64]

N_EXAMPLES = 4  # samples of a rule that are named


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """A classifier, the simplest of those that tell validation samples as well as the best.

    Attributes
    ----------
    predicted : ndarray, (sample,), int64
        The class that it says of every sample.
    setting : float
        Depth of the tree, or C of the penalty.
    fit : object
        scikit-learn's.
    is_converged : bool
        Whether its fit ended before its steps did.
    """

    predicted: NDArray[np.int64]
    setting: float
    fit: Any
    is_converged: bool = True


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The way to one leaf of a tree.

    Attributes
    ----------
    bounds : dict of int to (float, float)
        Of which inputs each exceeds the first number and does not exceed the second.
    label : int
        Class that it says.
    n_train, n_held_out, n_right : int
        Training samples that it is of, samples held out, and how many of these are of the class.
    examples : tuple of int
        Samples that it is of, those held out first, as many as are shown at most.
    """

    bounds: dict[int, tuple[float, float]]
    label: int
    n_train: int
    n_held_out: int
    n_right: int
    examples: tuple[int, ...] = ()


def decision_tree(
    inputs: Floats,
    labels: NDArray[np.int64],
    splits: Splits,
    depths: Sequence[int] = DEPTHS,
    seed: int = 0,
) -> Chosen:
    """The shallowest tree whose accuracy on the validation split is within an error of the best.

    The rule of one standard error of Breiman, Friedman, Olshen and Stone (1984), Classification
    and regression trees, doi:10.1201/9781315139470.

    Parameters
    ----------
    inputs : ndarray, (sample, input)
        Numbers as they are: a tree needs no scale.
    labels : ndarray, (sample,), int64
        Classes.
    splits : Splits
        A tree learns on the training split.
    depths : sequence of int
        Depths that are tried, increasing.
    seed : int
        Of ties between inputs.
    """

    def made(depth: float) -> Any:
        return DecisionTreeClassifier(
            max_depth=int(depth), min_samples_leaf=_LEAST_LEAF, random_state=seed
        )

    return _simplest(made, inputs, labels, splits, depths)


def sparse_classifier(
    inputs: Floats,
    labels: NDArray[np.int64],
    splits: Splits,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Chosen:
    """The sparsest multinomial logistic regression that is within an error of the best, by L1.

    Parameters
    ----------
    inputs : ndarray, (sample, input)
        Divided here by their largest size in the training split, so that no weight is dear for the
        unit of its input.
    labels, splits
        As `decision_tree` takes them.
    strengths : sequence of float
        C of the penalties that are tried, increasing.
    seed : int
        Of the order in which samples are taken.
    """
    scale = np.abs(inputs[splits.train]).max(0)
    scaled = inputs / np.where(scale > 0, scale, 1)

    def made(strength: float) -> Any:
        return LogisticRegression(
            C=strength,
            solver="saga",
            tol=_TOLERANCE,
            max_iter=MAX_STEPS,
            random_state=seed,
            **_of_l1(),
        )

    return _simplest(made, scaled, labels, splits, strengths)


def _simplest(
    made: Callable[[float], Any],
    inputs: Floats,
    labels: NDArray[np.int64],
    splits: Splits,
    settings: Sequence[float],
) -> Chosen:
    """The first classifier that is within a standard error of the best of all."""
    train, validation = splits.train, splits.validation
    found = []
    for setting in settings:
        fit = made(setting)
        with warnings.catch_warnings():  # what has not converged is said
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit.fit(inputs[train], labels[train])
        steps = np.atleast_1d(getattr(fit, "n_iter_", 0))
        found.append(
            Chosen(
                predicted=fit.predict(inputs),
                setting=setting,
                fit=fit,
                is_converged=bool((steps < MAX_STEPS).all()),
            )
        )
    right = [float((each.predicted == labels)[validation].mean()) for each in found]
    best = max(right)
    error = np.sqrt(best * (1 - best) / len(validation))
    return next(each for each, share in zip(found, right, strict=True) if share >= best - error)


def rules_of(tree: Any, inputs: Floats, labels: NDArray[np.int64], splits: Splits) -> list[Rule]:
    """The way to each leaf of a tree, those of most training samples first.

    Parameters
    ----------
    tree : DecisionTreeClassifier
        Fitted.
    inputs : ndarray, (sample, input)
        What it was fitted on.
    labels : ndarray, (sample,), int64
        Classes.
    splits : Splits
        Which samples are held out.
    """
    nodes, leaves = tree.tree_, tree.apply(inputs)
    found: list[Rule] = []
    waiting: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
    while waiting:
        node, bounds = waiting.pop()
        below, above = int(nodes.children_left[node]), int(nodes.children_right[node])
        if below < 0:
            label = int(tree.classes_[nodes.value[node, 0].argmax()])
            held, learnt = (each[leaves[each] == node] for each in (splits.held_out, splits.train))
            found.append(
                Rule(
                    bounds=bounds,
                    label=label,
                    n_train=len(learnt),
                    n_held_out=len(held),
                    n_right=int((labels[held] == label).sum()),
                    examples=tuple(np.concatenate([held, learnt])[:N_EXAMPLES].tolist()),
                )
            )
            continue
        asked, threshold = int(nodes.feature[node]), float(nodes.threshold[node])
        low, high = bounds.get(asked, (-np.inf, np.inf))
        waiting.append((below, {**bounds, asked: (low, min(high, threshold))}))
        waiting.append((above, {**bounds, asked: (max(low, threshold), high)}))
    return sorted(found, key=lambda rule: -rule.n_train)


def _of_l1() -> dict[str, Any]:
    """How a penalty is L1, which scikit-learn calls otherwise from 1.8 on."""
    is_later = signature(LogisticRegression).parameters["penalty"].default == "deprecated"
    return {"l1_ratio": 1.0} if is_later else {"penalty": "l1"}

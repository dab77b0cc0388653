"""Which of a file's dicts of tensors are a model's weights, and what its names are for them.

Names in, names out: whatever wrapped a model while it was trained, one rule holds. What must be
taken away so that the names are the model's is taken away: words before all of them, and wrappers'
words within them, but never one that is the model's own child.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvis.models.safe_load import CheckpointError
from dvis.models.weights import State
from dvis.schema import did_you_mean

# Words that wrappers of a module put into the names below it: of DataParallel and AveragedModel,
# torch.compile, Fabric and DeepSpeed, FSDP, activation checkpointing.
_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
)
_LEAF = "."  # no word: under it a node of the tree of names has a whole name
_THE_FILE = "."  # what the dict is called that is all of a file
_DEEPEST = 100  # words of a name


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights under a model's names.

    Parameters
    ----------
    key : str
        Where they lie in the file: keys with dots, and the words before all names.
    state : dict of str to Tensor
        The weights.
    left : tuple of str
        Entries beside them that are not the model's, or empty.
    """

    key: str
    state: dict[str, Tensor]
    left: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A place in a file where names are the model's: a dict, and the words before all of them."""

    key: str
    state: State
    before: str = ""
    given_of: Mapping[str, str] = field(default_factory=dict)  # names there, by the model's
    n_named: int = 0  # of the names that the model needs


def find_weights(
    states: Mapping[str, State],
    names: Collection[str],
    fits: Callable[[Weights], bool],
    asked: str | None,
    path: Path,
) -> Weights:
    """The weights of a model in a file.

    Parameters
    ----------
    states : mapping of str to State
        Dicts of tensors by their keys.
    names : collection of str
        The model's own names.
    fits : callable
        Whether weights fit the model wholly, shapes and all: asked where several have its names.
    asked : str, optional
        Which are meant: a key, or its beginning or end.
    path : Path
        The file, for errors.

    Raises
    ------
    CheckpointError
        When several fit and none is asked for, or none has the key that is asked for.
    """
    tree = _tree(names)
    required = {name for name in names if not name.endswith("num_batches_tracked")}
    places = [place for key in states for place in _places(key, states[key], tree, required)]
    if asked is not None:
        places = _asked_for(places, asked, path)
    most = max(place.n_named for place in places)
    if most == 0:  # it is another model's: the largest says best whose
        largest = max(places, key=lambda place: len(place.state))
        return Weights(key=largest.key, state=_tensors(largest.state, tree))
    best = _different(_weights_at(place, tree) for place in places if place.n_named == most)
    fitting = best if len(best) == 1 else [each for each in best if fits(each)]
    keys = [each.key for each in fitting]
    if len(keys) > 1 and asked not in keys:
        raise CheckpointError(
            f"{path} holds {len(keys)} weights that fit the model: {', '.join(keys)}. Say which "
            f"are meant, as in --weights-key {keys[0]} or weights_key={keys[0]!r}"
        )
    return fitting[keys.index(asked) if asked in keys else 0] if fitting else best[0]


def _places(
    key: str, state: State, tree: Mapping[str, Any], required: set[str]
) -> Iterator[_Place]:
    """Where names of a dict are the model's; the dict as a whole where they are nowhere."""
    named: dict[str, dict[str, str]] = {}
    for given, tensor in state.items():
        words = given.split(".")
        for n, word in enumerate(words[:_DEEPEST] if tensor is not None else ()):
            if word in tree and (name := _own_name(tree, words, n)) is not None:
                named.setdefault(".".join(words[:n]), {}).setdefault(name, given)
    for before, given_of in named.items():
        yield _Place(
            key=".".join(part for part in (key, before) if part) or _THE_FILE,
            state=state,
            before=before,
            given_of=given_of,
            n_named=len(required.intersection(given_of)),
        )
    if not named:
        yield _Place(key=key or _THE_FILE, state=state)


def _weights_at(place: _Place, tree: Mapping[str, Any]) -> Weights:
    """Weights under the model's names, and the entries that are not the model's.

    An entry of a name that the model lacks, within one of its modules, is no such entry: another
    model is likely to be its owner, or the module knows its weights under old names.
    """
    names = {given: name for name, given in place.given_of.items()}
    prefix = f"{place.before}." if place.before else ""
    own: dict[str, Tensor] = OrderedDict()
    left = []
    for given, tensor in place.state.items():
        name = names.get(given)
        if name is None and given.startswith(prefix) and not given.endswith("_extra_state"):
            words = given.removeprefix(prefix).split(".")
            name = ".".join(_bare(words, tree)) if words[0] in tree else None
        if name is None or tensor is None or name in own:
            left.append(given)
        else:
            own[name] = tensor
    versions = getattr(place.state, "_metadata", None)
    if versions is not None:  # of modules, by which torch knows how old names are
        own._metadata = {  # type: ignore[attr-defined]
            ".".join(_bare(f"{module}.".removeprefix(prefix).split(".")[:-1], tree)): version
            for module, version in versions.items()
            if f"{module}.".startswith(prefix)
        }
    return Weights(key=place.key, state=own, left=tuple(left))


def _tensors(state: State, tree: Mapping[str, Any]) -> dict[str, Tensor]:
    """All of a dict, under names without wrappers' words."""
    return {
        ".".join(_bare(name.split("."), tree)): tensor
        for name, tensor in state.items()
        if tensor is not None
    }


def _tree(names: Iterable[str]) -> dict[str, Any]:
    """Names as a tree of their words."""
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for word in name.split("."):
            node = node.setdefault(word, {})
        node[_LEAF] = name
    return tree


def _own_name(node: Mapping[str, Any], words: Sequence[str], at: int) -> str | None:
    """The model's name that words are, wrappers' words left out; None where they are none.

    The first word is a child of the model. A word that is the module's own child is first taken
    for that.
    """
    if at == len(words):
        name: str | None = node.get(_LEAF)
        return name
    if words[at] in node:
        name = _own_name(node[words[at]], words, at + 1)
        if name is not None:
            return name
    return _own_name(node, words, at + 1) if words[at] in _WRAPPERS else None


def _bare(words: Sequence[str], node: Mapping[str, Any]) -> list[str]:
    """Words without those of wrappers that are not the modules' own children."""
    bare = []
    for word in words:
        if word in node or word not in _WRAPPERS:
            bare.append(word)
            node = node.get(word, {})
    return bare


def _different(found: Iterable[Weights]) -> list[Weights]:
    """Weights, each once where a file has the same ones under several keys."""
    return list(
        {
            tuple((name, _place_of(tensor)) for name, tensor in each.state.items()): each
            for each in found
        }.values()
    )


def _place_of(tensor: Tensor) -> int:
    """Where a tensor's numbers lie; a sparse one has them in no one place."""
    is_dense = tensor.layout is torch.strided and not tensor.is_nested
    return tensor.data_ptr() if is_dense else id(tensor)


def _asked_for(places: Sequence[_Place], asked: str, path: Path) -> list[_Place]:
    chosen = [
        place
        for place in places
        if f".{place.key}.".startswith(f".{asked}.") or f".{place.key}.".endswith(f".{asked}.")
    ]
    if not chosen:
        most = max(place.n_named for place in places)
        keys = [place.key for place in places if 2 * place.n_named >= most]
        keys = [f"{key} (the file itself)" if key == _THE_FILE else key for key in keys]
        raise CheckpointError(did_you_mean("weights key", asked, keys, str(path)))
    return chosen

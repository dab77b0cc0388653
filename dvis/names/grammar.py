"""Names of checkpoints, read by one grammar: a name in, its place in training out.

A name is a row of words and numbers. A number belongs to the word before it, or else to the word
after it (`10ep`); few words tell of training, and the numbers of all others (`resnet50`, `val_loss=
0.32`) are no places.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

import numpy as np

from dvis.names.name import FIRST, CheckpointName, stem_of

_TIME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[-_T ](\d\d)[-h:]?(\d\d)(?:[-m:]?(\d\d)s?)?(?![A-Za-z0-9])"
)
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[kKmM]?(?![A-Za-z\d]))"
    r"|(?P<digits>\d+)|(?P<word>[A-Za-z]+)"
)
_LARGE = {"k": 10**3, "m": 10**6}

_EPOCH = {"epoch", "epochs", "ep", "e"}
_STEP = {
    *("step", "steps", "globalstep", "iter", "iters", "iteration", "iterations", "it", "itr"),
    *("update", "updates"),
    "ba",  # Composer's batches, counted over the run
    "training",  # DINOv2's folders
}
_PHASE_OF = {"batch": "", "train": "train", "val": "val"}
_BARE_ONES = {"checkpoint", "ckpt"}  # alone, as torchvision calls the last one
_COUNTED = {*_BARE_ONES, "chkpt", "model", "weights"}
_SHORT = {"e", "it", "ba"}  # of much else, unless the number follows at once
_ROLES = {
    **dict.fromkeys(("init", "initial", "initialized", "initialised", "untrained"), FIRST),
    **dict.fromkeys(("initialization", "initialisation", "random"), FIRST),
    **dict.fromkeys(("best", "ema", "latest", "last", "final")),
    **dict.fromkeys(("averaged", "swa"), "averaged"),
}
# Detectron2 pads its iterations to so many digits, and nobody pads epochs so far; more digits
# without a zero before them may be a date.
_STEP_DIGITS = 7


@dataclass(frozen=True)
class _Token:
    """A word in lower case, or a number as it is written."""

    text: str
    start: int
    end: int

    @property
    def is_word(self) -> bool:
        return self.text.isalpha()

    @property
    def value(self) -> int:
        """The number if it is whole, else -1."""
        if self.is_word:
            return -1
        factor = _LARGE.get(self.text[-1].lower(), 1)
        number = float(self.text if factor == 1 else self.text[:-1]) * factor
        return round(number) if number < 2**53 and abs(number - round(number)) < 1e-6 else -1


# The same names recur at every opening of a store.
@lru_cache(maxsize=32_768)
def parse_checkpoint(label: str) -> CheckpointName:
    """Place in training of a checkpoint's name, which is that of its file or folder.

    What recipes write as a plain number (`model_7.pth`, `checkpoint-3.pth.tar`) is an epoch, but a
    step in a folder of Hugging Face's (`checkpoint-500`), in seven digits (`model_0004999.pth`) and
    where it is written short (`model-1e3.pt`).

    Examples
    --------
    >>> parse_checkpoint("checkpoint_2024-03-25-00h28_epoch_0_train_200.pth.tar").batch
    200
    >>> parse_checkpoint("resnet50-epoch=09-step=12k-val_loss=0.32.ckpt").step
    12000
    >>> parse_checkpoint("full").epoch
    -1
    """
    stem = stem_of(label)
    time, rest = _split_time(stem)
    tokens = [_Token(m[0].lower(), *m.span()) for m in _TOKEN.finditer(rest)]
    words = [token.text for token in tokens if token.is_word]
    role = next((_ROLES[word] or word for word in words if word in _ROLES), "")
    if len(tokens) == len(words) == 1 and words[0] in _BARE_ONES:
        role = "latest"
    name = _placed(CheckpointName(label, time, role=role), tokens)
    if role != FIRST:
        return name
    is_placed = name.epoch >= 0 or name.step >= 0 or not np.isnat(time)
    return replace(name, role="") if is_placed else replace(name, step=0)


def _split_time(stem: str) -> tuple[np.datetime64, str]:
    """Time in a name, NaT where there is none, and the name without it."""
    match = _TIME.search(stem)
    if match is None:
        return np.datetime64("NaT", "s"), stem
    rest = f"{stem[: match.start()]}_{stem[match.end() :]}"
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        time = datetime(year, month, day, hour, minute, second)
    except ValueError:  # the 32nd of a month
        return np.datetime64("NaT", "s"), rest
    return np.datetime64(time, "s"), rest


def _placed(name: CheckpointName, tokens: Sequence[_Token]) -> CheckpointName:
    """The name with what its words and numbers tell."""
    epoch = _number_of(_EPOCH, tokens)
    step = _number_of(_STEP, tokens)
    if epoch >= 0:
        return _in_epoch(replace(name, epoch=epoch, step=step), tokens)
    if step >= 0:
        return replace(name, step=step)
    match tokens:
        case [_Token(text="recovery"), first, second]:  # timm's, of an interrupted epoch
            return replace(name, epoch=first.value, phase="train", batch=second.value)
        case [*_, word, number] if word.text in _COUNTED and not number.is_word:
            return _counted(name, word, number)
    return name


def _in_epoch(name: CheckpointName, tokens: Sequence[_Token]) -> CheckpointName:
    """The name of an epoch with the part of it that it tells."""
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        value = -1 if after is None else after.value
        if token.text == "end":
            return replace(name, phase="end", batch=value)
        if token.text in _PHASE_OF and value >= 0:
            return replace(name, phase=_PHASE_OF[token.text], batch=value)
    return name


def _counted(name: CheckpointName, word: _Token, number: _Token) -> CheckpointName:
    """The name of a checkpoint that is counted by a plain number."""
    is_written_short = not number.text.isdecimal()
    n_digits = len(number.text)
    is_padded_far = n_digits == _STEP_DIGITS or (
        n_digits > _STEP_DIGITS and number.text.startswith("0")
    )
    folder = f"{word.text}-{number.text}"
    is_of_transformers = folder.startswith("checkpoint-") and name.label.endswith(folder)
    if is_written_short or is_padded_far or is_of_transformers:
        return replace(name, step=number.value)
    return replace(name, epoch=number.value, is_counted=True)


def _number_of(words: set[str], tokens: Sequence[_Token]) -> int:
    """The last whole number that belongs to one of some words, else -1."""
    found = -1
    for i, token in enumerate(tokens):
        if token.text not in words:
            continue
        before = tokens[i - 1] if i else None
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        if token.text in _SHORT and not _is_alone(tokens, i):
            continue
        if after is not None and not after.is_word:
            value = after.value
        elif before is not None and not before.is_word and not _belongs_before(tokens, i - 1):
            value = before.value
        else:
            value = -1
        found = value if value >= 0 else found
    return found


def _is_alone(tokens: Sequence[_Token], i: int) -> bool:
    """Whether a word is joined to the number that follows, and both to nothing else: no hash."""

    def is_joined(n: int) -> bool:
        return 0 <= n < len(tokens) - 1 and tokens[n].end == tokens[n + 1].start

    return is_joined(i) and not is_joined(i - 1) and not is_joined(i + 1)


def _belongs_before(tokens: Sequence[_Token], i: int) -> bool:
    """Whether a number is that of the word before it, to which it is joined."""
    return i > 0 and tokens[i - 1].is_word and tokens[i - 1].end == tokens[i].start

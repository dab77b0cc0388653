"""Where the steps of a run's checkpoints come from, in words."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping

from dvis.names.grammar import parse_checkpoint
from dvis.names.name import CheckpointName
from dvis.names.steps import training_steps
from dvis.schema import counted

TOLD, NAMES, FILES, UNKNOWN = "told by the user", "the names", "the files", "not known"
ESTIMATED = "estimated from times"


def step_sources(
    names: Iterable[CheckpointName],
    told: Container[str] = (),
    batches: int | None = None,
    *,
    is_estimated: bool = False,
) -> dict[str, int]:
    """How many steps come from what: told, the names, batches in an epoch, the files, or nothing.

    Parameters
    ----------
    names : iterable of CheckpointName
        Checkpoints with the steps that a store has of them.
    told : container of str
        Labels of those whose steps a user told.
    batches : int, optional
        Batches in an epoch that an import went by.
    is_estimated : bool
        Whether that number was read off the checkpoints' times.
    """
    with_batches = f"the names and {counted(batches or 0, 'batch', 'batches')} in an epoch"
    if is_estimated:
        with_batches = f"{ESTIMATED} ({with_batches})"

    def source(name: CheckpointName) -> str:
        if name.step < 0:
            return UNKNOWN
        if name.label in told:
            return TOLD
        parsed = [parse_checkpoint(name.label)]
        if training_steps(parsed, None) == [name.step]:
            return NAMES
        return with_batches if training_steps(parsed, batches) == [name.step] else FILES

    return dict(Counter(map(source, names)))


def source_words(sources: Mapping[str, int]) -> str:
    """Sources with their numbers, the most frequent first; without numbers where there is one.

    Examples
    --------
    >>> source_words({"the names": 1, "the files": 3}), source_words({"the files": 4})
    ('the files (3), the names (1)', 'the files')
    """
    if len(sources) == 1:
        return next(iter(sources))
    ranked = sorted(sources.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{source} ({n:,})" for source, n in ranked)

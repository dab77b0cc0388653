"""Places of a run's checkpoints from names, files and what a user told; and whence they come."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dvis.names import (
    CheckpointName,
    Told,
    check_batches,
    estimate_batches_per_epoch,
    parse_checkpoint,
    place_in_run,
    source_words,
    step_sources,
    training_steps,
)


def steps_of(labels: list[str], facts: dict[str, Any], **told: Told) -> dict[str, int]:
    return {name.label: name.step for name in place_in_run(labels, facts, told).names}


@pytest.mark.parametrize(
    ("facts", "epoch", "step"),
    [
        ({"step": 400}, -1, 400),
        ({"step": 400.0}, -1, 400),
        ({"global_step": 400, "step": 3}, -1, 400),
        ({"iteration": 400}, -1, 400),
        ({"iter": 400}, -1, 400),
        ({"epoch": 4}, 4, -1),
        ({"meta": {"epoch": 4, "iter": 400}}, 4, 400),
        ({"step": 0.5}, -1, -1),
        ({"step": True}, -1, -1),
        ({"step": float("nan")}, -1, -1),
        ({"step": -3}, -1, -1),
        ({"step": "400"}, -1, -1),
    ],
)
def test_files_tell_what_names_do_not(facts: dict[str, Any], epoch: int, step: int) -> None:
    (name,) = place_in_run(["a.pth"], {"a.pth": facts}).names
    assert (name.epoch, name.step) == (epoch, step)


def test_files_order_a_run_and_give_words_their_places() -> None:
    steps = {"init.pth": 0, "epoch_1.pth": 100, "best.pth": 150, "epoch_2.pth": 200}
    facts = {label: {"step": step} for label, step in {**steps, "final.pth": 200}.items()}
    placed = place_in_run(sorted(facts), facts)
    assert [name.label for name in placed.names] == [*steps, "final.pth"]
    assert placed.notes == ()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"epoch_1": 200, "epoch_2": 200, "epoch_3": 200}, "is 200 at epoch_1 and at epoch_2"),
        ({"epoch_1": 100, "epoch_2": 300, "epoch_3": 200}, "goes back from 300 at epoch_2 to 200"),
        ({"a.pt": 7, "b.pt": 7}, "is 7 at a.pt and at b.pt"),
        ({"step_100.pt": 100, "step_200.pt": 500}, "is 500 in step_200.pt"),
    ],
)
def test_a_step_in_files_that_cannot_be_one_is_not_taken(facts: dict[str, int], said: str) -> None:
    placed = place_in_run(facts, {label: {"step": step} for label, step in facts.items()})
    (note,) = placed.notes
    assert said in note
    assert "--steps" in note
    assert {n.step for n in placed.names} == {parse_checkpoint(n.label).step for n in placed.names}


def test_another_number_of_the_files_is_taken_where_the_first_is_none() -> None:
    facts = {f"epoch_{e}": {"step": 200, "iter": 200 * e} for e in (1, 2)}
    placed = place_in_run(facts, facts)
    assert [name.step for name in placed.names] == [200, 400]
    assert len(placed.notes) == 1


def test_steps_in_names_that_begin_anew_with_each_epoch_are_batches() -> None:
    labels = ["epoch_1_step_100.pt", "epoch_1_step_200.pt", "epoch_2_step_100.pt"]
    placed = place_in_run(labels)
    assert [(n.label, n.step, n.batch) for n in placed.names] == [
        (label, -1, batch) for label, batch in zip(labels, (100, 200, 100), strict=True)
    ]
    assert "within an epoch" in placed.notes[0]


def test_epochs_of_files_are_counted_as_the_names_count() -> None:
    facts = {f"checkpoint_{e:04d}.pth.tar": {"epoch": e + 1} for e in (0, 1, 2)}
    facts["last.pth"] = {"epoch": 2}
    epochs = {name.label: name.epoch for name in place_in_run(facts, facts).names}
    assert list(epochs.values()) == [0, 1, 1, 2]
    assert epochs["last.pth"] == 1


def test_a_plain_number_that_is_the_files_step_is_no_epoch() -> None:
    facts = {f"ckpt_{step}.pth": {"step": step} for step in (100, 200)}
    assert [(n.epoch, n.step) for n in place_in_run(facts, facts).names] == [(-1, 100), (-1, 200)]


def test_plain_numbers_too_large_for_epochs_only_order() -> None:
    labels = [f"model_{n}.pt" for n in (500, 1000, 20_000)]
    placed = place_in_run(reversed(labels))
    assert [(n.label, n.epoch) for n in placed.names] == [(label, -1) for label in labels]
    assert "model_20000.pt is too large for an epoch" in placed.notes[0]
    (dated,) = place_in_run(["model_20240325.pt"]).names
    assert (dated.epoch, dated.step) == (-1, -1)


def test_what_a_user_tells_wins_over_all() -> None:
    facts = {"step_1.pt": {"step": 1}, "step_2.pt": {"step": 2}}
    told = {"step_2.pt": Told(step=0, epoch=9)}
    first, second = place_in_run(facts, facts, told).names
    assert (first.label, first.step, first.epoch) == ("step_2.pt", 0, 9)
    assert (second.label, second.step) == ("step_1.pt", 1)


def names_of_run(
    batches: int, validation: float, every: int, epochs: int
) -> tuple[list[CheckpointName], list[int]]:
    """Names of a run that saves every so many batches, and their true steps."""
    names, true, minutes = [], [], 0.0
    for epoch in range(epochs):
        for batch in range(1, batches + 1):
            minutes += 0.02
            if batch % every == 0 and batch < batches:
                time = datetime(2024, 3, 25) + timedelta(minutes=minutes)
                label = f"checkpoint_{time:%Y-%m-%d-%Hh%M}_epoch_{epoch}_train_{batch}.pth.tar"
                names.append(parse_checkpoint(label))
                true.append(epoch * batches + batch)
        minutes += validation
    return names, true


@pytest.mark.parametrize("validation", [0.0, 0.2, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("every", [200, 900])
def test_batches_read_off_times_are_right_or_not_given(validation: float, every: int) -> None:
    names, _ = names_of_run(5004, validation, every, 20)
    estimate = estimate_batches_per_epoch(names)
    assert estimate is None or abs(estimate / 5004 - 1) < 0.005
    assert (estimate is not None) == (every == 200 and validation < 2)


def test_batches_tell_steps_but_not_of_an_epoch_alone() -> None:
    names, true = names_of_run(500, 0.0, 200, 3)
    assert training_steps(names, 500) == true
    assert training_steps([parse_checkpoint("epoch_7.pth")], 500) == [-1]
    with pytest.raises(
        ValueError, match=r"batches_per_epoch is 300, and .*_train_400.*at least 400"
    ):
        check_batches(names, 300)


def test_every_step_has_its_source() -> None:
    names = [
        CheckpointName("step_10", step=10),
        CheckpointName("a", step=5),
        CheckpointName("b", step=6),
        CheckpointName("c"),
        CheckpointName("epoch_2_train_10", step=1010),
    ]
    sources = step_sources(names, {"b"}, 500)
    assert sources == {
        "the names": 1,
        "the files": 1,
        "told by the user": 1,
        "not known": 1,
        "the names and 500 batches in an epoch": 1,
    }
    estimated = step_sources(names[-1:], (), 500, is_estimated=True)
    assert source_words(estimated).startswith("estimated from times")


def test_thousands_of_checkpoints_of_both_sorts_are_ordered_at_once() -> None:
    labels = [f"epoch_0_step_{n}.pt" for n in range(500)] + [
        f"epoch_{n}.pt" for n in range(1, 3000)
    ]
    rng = np.random.default_rng(1)
    placed = place_in_run(rng.permutation(labels).tolist())
    assert [name.label for name in placed.names] == labels

"""What a checkpoint's file may hold after it was loaded safely: one clear error, or left out."""

import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import seeded_net

from dvis.models.architectures import load_fitted, load_model
from dvis.models.building import skeleton
from dvis.models.checkpoints import CheckpointError, load_checkpoint, read_facts
from dvis.models.data import InputTransform

NET = "tiny_models:net"


def save(path: Path, weights: dict[str, Any] | None = None, **facts: Any) -> Path:
    state = seeded_net(0).state_dict() | (weights or {})
    torch.save({"model_state_dict": state, **facts}, path)
    return path


def nested(levels: int) -> list[Any]:
    """Ten to the power of some levels items, by reference."""
    items: list[Any] = [1] * 10
    for _ in range(levels - 1):
        items = [items] * 10
    return items


def holding_itself() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    "fact",
    [
        nested(10),
        holding_itself(),
        {"a": 10**400},
        2**64,
        -(2**63) - 1,
        ["x" * 10**6] * 10**5,
        torch.zeros(1).expand(10**12),
        torch.zeros((), device="meta"),
        torch.zeros(()).to_sparse(),
        torch.tensor(1j),
    ],
)
def test_facts_too_large_or_odd_are_left_out_and_the_others_read(tmp_path: Path, fact: Any) -> None:
    path = save(tmp_path / "a.pth", fact=fact, epoch=3)
    assert read_facts(path) == {"epoch": 3}
    load_model(NET, path)


def test_many_lists_of_the_same_items_take_no_time(tmp_path: Path) -> None:
    items = nested(10)
    facts = {f"fact{i}": [items, i] for i in range(5000)}
    assert read_facts(save(tmp_path / "a.pth", **{"epoch": 3, **facts})) == {"epoch": 3}


def test_64_bits_are_a_fact(tmp_path: Path) -> None:
    assert read_facts(save(tmp_path / "a.pth", seed=2**64 - 1)) == {"seed": 2**64 - 1}


WEIGHT = torch.ones(2, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of old kinds of tensors
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8), "quantised"),
        (lambda: WEIGHT.to("meta"), "without values"),
        (lambda: WEIGHT.to_sparse(), "sparse"),
        (lambda: torch.zeros(1).expand(10**12), "1e.12 items, of which 1 are stored"),
        (lambda: torch.zeros(1, 1).expand(10**9, 512), "items, of which 1 are stored"),
    ],
)
def test_weights_that_are_no_plain_tensors_are_refused_by_name(
    tmp_path: Path, make: Any, what: str
) -> None:
    path = save(tmp_path / "a.pth", {"fc.weight": make()})
    with pytest.raises(CheckpointError, match=rf"a\.pth: fc\.weight is .*{what}"):
        load_model(NET, path)
    torch.save({"of_another": make()}, path)
    with pytest.raises(CheckpointError, match=rf"a\.pth: of_another is .*{what}"):
        load_model(NET, path)
    assert load_fitted(NET, save(path, {"beside": make()}))[1] == ("beside",)


def test_a_repeated_weight_of_a_usual_size_is_read(tmp_path: Path) -> None:
    own = seeded_net(0).state_dict()["fc.weight"]
    path = save(tmp_path / "a.pth", {"fc.weight": torch.ones(1).expand(own.shape)})
    assert load_model(NET, path).state_dict()["fc.weight"].eq(1).all()


@pytest.mark.parametrize(
    "weights",
    [
        {"encoder.pos_embedding": torch.zeros(5), "conv_proj.weight": torch.tensor(1.0)},
        {"heads.head.weight": torch.tensor(1.0)},
    ],
)
def test_weights_of_no_shape_of_the_model_tell_none(weights: dict[str, Any]) -> None:
    skeleton("vit_b_16", {name: tensor.shape for name, tensor in weights.items()})


@pytest.mark.parametrize(
    "values",
    [
        {"size": "224"},
        {"size": None},
        {"size": 10**20},
        {"size": 2.5},
        {"mean": 5},
        {"mean": [None]},
        {"mean": [float("nan")]},
        {"mean": [10**400]},
        {"std": [float("inf")]},
        {"channels": [1]},
        {"interpolation": ["bilinear"]},
        {"resize": {}},
    ],
)
def test_a_recorded_input_of_wrong_types_is_one_error(values: dict[str, Any]) -> None:
    sound = {"size": 8, "mean": [0.5], "std": [0.5]}
    InputTransform.from_dict(sound)
    with pytest.raises(ValueError, match=r"[Gg]ive|Write it with"):
        InputTransform.from_dict(sound | values)


def test_no_flipped_bit_of_a_zip_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", epoch=3)
    data, sound = path.read_bytes(), load_checkpoint(path)
    drawn, n_refused = random.Random(5), 0
    for _ in range(200):
        flipped = bytearray(data)
        flipped[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        path.write_bytes(flipped)
        try:
            found = load_checkpoint(path)
        except CheckpointError:
            n_refused += 1
            continue
        # A bit between the records, or of what a reader of zips does not look at.
        assert found.facts == sound.facts
        weights, own = (each.states["model_state_dict"] for each in (found, sound))
        for name in own:
            assert torch.equal(weights[name], own[name])  # type: ignore[arg-type]
    assert n_refused > 80


def test_facts_are_read_without_the_weights_and_their_damage_is_found_after(
    tmp_path: Path,
) -> None:
    path = save(tmp_path / "a.pth", epoch=3)
    own = seeded_net(0).state_dict()["fc.weight"].numpy().tobytes()
    data = path.read_bytes()
    path.write_bytes(data.replace(own, bytes(len(own))))
    assert read_facts(path) == {"epoch": 3}
    with pytest.raises(CheckpointError, match=r"a\.pth is damaged: Bad CRC-32"):
        load_checkpoint(path)


def test_a_zip_that_inflates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("a/data/0", bytes(10**7))
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(path)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = save(tmp_path / "a.pth", epoch=np.int64(3))
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_facts(path) == {"epoch": 3}

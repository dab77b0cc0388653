"""What `dvis info` says of a store, of each kind alone and of all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from made_up_chains import write_all
from made_up_influence import write_influence
from made_up_responses import write_responses
from recorded_stores import write_store
from tiny_activations import options_of
from tiny_attributes import attribute_options
from tiny_chimeras import chimera_options, size_options
from tiny_models import write_checkpoints
from tiny_probes import probe_options

import dvis
from dvis.cli import main
from dvis.info import describe, list_problems
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.attributes.plan import measure_attributes
from dvis.kinds.chimera.plan import make_chimeras
from dvis.kinds.edges.options import EdgesOptions
from dvis.kinds.edges.plan import measure_edges
from dvis.kinds.probes.plan import train_probes
from dvis.kinds.registry import KINDS
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.exchange import write_saelens
from dvis.kinds.saes.measure.stored import import_sae
from dvis.kinds.sizes.plan import measure_sizes
from dvis.store.writer import create_store, restructuring


def of_features(store: Path) -> None:
    write_store(store, ["step_0", "step_1"], ["conv1"], failed=[(1, 2)])


def write_saes(store: Path) -> None:
    """An autoencoder that came from elsewhere, beside nothing else."""
    create_store(store, "net")
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4, 3)).astype(np.float32)
    zeros = np.zeros(4, np.float32)
    one = Autoencoder(
        encoder=matrix,
        decoder=matrix,
        encoder_bias=zeros,
        decoder_bias=zeros[:3],
        threshold=zeros,
        kind="topk",
        k=2,
    )
    write_saelens(one, store.with_name("out"))
    folder, run = store.with_name("out"), "checkpoints"
    with pytest.raises(ValueError, match="name one"):
        import_sae(store, folder, "conv2", "mine", checkpoint="step_1")
    import_sae(store, folder, "conv2", "mine", run, checkpoint="step_1")


def write_activations(store: Path) -> None:
    keep_activations(options_of(store.parent, store=store, layers=("conv2",), n_images=2))


def write_edges(store: Path) -> None:
    write_checkpoints(store.parent / "run", 2)
    run = {"model": "tiny_models:net", "checkpoint_path": (store.parent / "run",)}
    measure_edges(EdgesOptions(**run, store=store, noise=16, workers=0))


ALONE: dict[str, tuple[Callable[[Path], object], str]] = {
    "features": (of_features, "checkpoints  average-0            2       1         5"),
    "responses": (
        lambda store: write_responses(store, "image"),
        "responses of checkpoints: mine, 3 checkpoints, 24 complete",
    ),
    "activations": (
        write_activations,
        "activations of checkpoints: shapes-val/conv2, 2 checkpoints, 2 complete",
    ),
    "saes": (
        write_saes,
        "sparse autoencoders of checkpoints: conv2/mine, 1 checkpoints, 1 complete",
    ),
    "llc": (write_all, "chains of 1: llc, 3 checkpoints, 18 done"),
    "influence": (
        write_influence,
        "influence of checkpoints: shapes, 5 checkpoints, 70 complete",
    ),
    "edges": (
        write_edges,
        "edges of checkpoints: noise-16-seed-0, 2 checkpoints, 6 complete",
    ),
    "chimera": (
        lambda store: make_chimeras(chimera_options(store.parent, store=store)),
        "chimeras of checkpoints: shapes-val, 3 checkpoints, 6 complete",
    ),
    "sizes": (
        lambda store: measure_sizes(size_options(store.parent, store=store)),
        "sizes of checkpoints: shapes-val, 3 checkpoints, 84 complete",
    ),
    "probes": (
        lambda store: train_probes(probe_options(store.parent, store=store, n_shuffles=0)),
        "probes of checkpoints: shapes-val, 3 checkpoints, 12 complete",
    ),
    "attributes": (
        lambda store: measure_attributes(attribute_options(store.parent, store=store)),
        "attributes of checkpoints: pairs, 3 checkpoints, 12 complete",
    ),
}


def test_every_kind_is_tried_alone() -> None:
    assert ALONE.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", ALONE)
def test_info_tells_of_a_store_of_one_kind(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, expected = ALONE[kind]
    store = tmp_path / "s.zarr"
    write(store)
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(store)])
    said = capsys.readouterr().out
    assert expected in said
    assert [line for line in ALONE if line != kind and f"{KINDS[line].noun} of" in said] == []
    assert dvis.open(store, kind=kind).attrs["run"] in said
    others = {name for name in KINDS if name != kind}
    for other in others:
        with pytest.raises(dvis.SchemaError, match=f"holds no .*; `dvis.contents` tells.*{kind}"):
            dvis.open(store, kind=other)


def test_problems_of_all_kinds_are_listed_with_their_places(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    of_features(store)
    (problem,) = list_problems(store)
    assert problem == "net/checkpoints/step_1/conv1/channel 2: failed: no gradient"
    other = write_all(tmp_path / "chains.zarr")
    group = zarr.open_group(other, path="1/llc/llc", mode="r+", use_consolidated=False)
    group["source/problem"][0, 0, 0, 0, 1] = "failed: out of memory"
    (problem,) = list_problems(other)
    assert problem.startswith("1/llc/llc/checkpoint_2024-03-25-00h02")
    assert problem.endswith("all, epsilon 0.0001, gamma 1, chain 1: failed: out of memory")


def test_an_empty_store_and_a_kind_of_a_later_dvis_are_told(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    create_store(store, "net")
    assert describe(store) == ["nothing is measured yet"]
    with restructuring(store):
        group = zarr.open_group(store, path="1/sharpness/all", mode="a")
        group.update_attributes({"run": "1", "name": "all", "dvis_kind": "sharpness"})
    assert describe(store) == ["groups of the kind sharpness, which this dvis does not know"]
    assert dvis.check_store(store) == []

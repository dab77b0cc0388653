"""What names of checkpoints tell of step and epoch: those of common recipes, and words in them."""

import numpy as np
import pytest

from dvis.names import parse_checkpoint, training_order

# Recipe, name, epoch and step, -1 where the name does not tell. A folder that is a checkpoint has
# no suffix.
RECIPES = [
    ("original", "checkpoint_2024-03-25-00h28_epoch_0_train_200.pth.tar", 0, -1),
    ("torchvision", "model_7.pth", 7, -1),
    ("torchvision", "checkpoint.pth", -1, -1),
    ("timm", "checkpoint-3.pth.tar", 3, -1),
    ("timm", "recovery-3-1200.pth.tar", 3, -1),
    ("timm", "model_best.pth.tar", -1, -1),
    ("Lightning", "epoch=3-step=1000.ckpt", 3, 1000),
    ("Lightning", "last.ckpt", -1, -1),
    ("Lightning", "resnet-epoch=09-val_loss=0.32.ckpt", 9, -1),
    ("Lightning", "epoch=3-step=1000-v1.ckpt", 3, 1000),
    ("Hugging Face", "checkpoint-500", -1, 500),
    ("Hugging Face", "checkpoint-1500", -1, 1500),
    ("DINO", "checkpoint0020.pth", 20, -1),
    ("DINOv2", "training_12499", -1, 12499),
    ("MAE", "checkpoint-800.pth", 800, -1),
    ("MoCo", "checkpoint_0100.pth.tar", 100, -1),
    ("open_clip", "epoch_12.pt", 12, -1),
    ("model zoos", "checkpoint_000012", 12, -1),
    ("EPFL series", "ep10.pt", 10, -1),
    ("EPFL series", "ep2.pt", 2, -1),
    ("mmengine", "epoch_12.pth", 12, -1),
    ("mmengine", "iter_4000.pth", -1, 4000),
    ("detectron2", "model_0004999.pth", -1, 4999),
    ("detectron2", "model_final.pth", -1, -1),
    ("Composer", "ep1-ba300-rank0.pt", 1, 300),
    ("accelerate", "epoch_0", 0, -1),
    ("accelerate", "step_900", -1, 900),
    ("DeepSpeed", "global_step500", -1, 500),
    ("plain", "ckpt_3.pth", 3, -1),
    ("plain", "ckpt_ep010.pth", 10, -1),
    ("plain", "resnet50_epoch_90.pth", 90, -1),
    ("plain", "step_000100.pt", -1, 100),
    ("plain", "step-2000.safetensors", -1, 2000),
    ("plain", "step512", -1, 512),
    ("plain", "weights.09.pt", 9, -1),
    ("plain", "model-1e3.pt", -1, 1000),
    ("plain", "init.pt", -1, 0),
    ("plain", "final.pt", -1, -1),
]
# Numbers that belong to models, metrics and settings, and ways to write numbers.
KINDS = [
    ("resnet50.pth", -1, -1),
    ("ViT-B-32.pt", -1, -1),
    ("vit_small_patch16_224-epoch_3.pt", 3, -1),
    ("imagenet1k_step_20.pt", -1, 20),
    ("acc-91.2.pt", -1, -1),
    ("model_best_acc_91.pt", -1, -1),
    ("model_lr1e-3.pt", -1, -1),
    ("lr1e-3_epoch_5.pt", 5, -1),
    ("epoch=3.5.ckpt", -1, -1),
    ("step_12k.pt", -1, 12_000),
    ("step=1.5M.ckpt", -1, 1_500_000),
    ("model_500k_steps.pt", -1, 500_000),
    ("mae_800ep.pth", 800, -1),
    ("STEP_7.PT", -1, 7),
    ("step=400.0.ckpt", -1, 400),
    ("10.pth", -1, -1),
    ("step_99999999999999999999.pt", -1, -1),
    ("model-e3b0c442.pt", -1, -1),
    ("resnet18-f37072e12.pth", -1, -1),
    ("model_e12.pt", 12, -1),
    ("e12_it40.pt", 12, 40),
    ("", -1, -1),
]


@pytest.mark.parametrize(("recipe", "label", "epoch", "step"), RECIPES)
def test_names_of_recipes_tell_epoch_and_step(
    recipe: str, label: str, epoch: int, step: int
) -> None:
    name = parse_checkpoint(label)
    assert (name.epoch, name.step) == (epoch, step), recipe


@pytest.mark.parametrize(("label", "epoch", "step"), KINDS)
def test_only_numbers_of_training_are_places(label: str, epoch: int, step: int) -> None:
    name = parse_checkpoint(label)
    assert (name.label, name.epoch, name.step) == (label, epoch, step)


@pytest.mark.parametrize(
    ("label", "phase", "batch"),
    [
        ("checkpoint_2024-03-25-00h28_epoch_0_train_200.pth.tar", "train", 200),
        ("checkpoint_2024-03-25-00h28_epoch_3_val_17.pth.tar", "val", 17),
        ("checkpoint_2024-03-25-00h28_epoch_3_end.pth.tar", "end", -1),
        ("checkpoint_2024-03-25-00h28_epoch_3_end_500.pth.tar", "end", 500),
        ("recovery-3-1200.pth.tar", "train", 1200),
        ("epoch_3_batch_40.pt", "", 40),
        ("epoch_3_train_loss_0.2.pt", "", -1),
    ],
)
def test_names_tell_the_part_of_an_epoch(label: str, phase: str, batch: int) -> None:
    name = parse_checkpoint(label)
    assert (name.phase, name.batch) == (phase, batch)


def test_a_time_in_a_name_is_no_number_of_training() -> None:
    for label in ("2024-03-25-00h28_step_5.pt", "ckpt_20240325-002800.pt"):
        assert parse_checkpoint(label).time == np.datetime64("2024-03-25T00:28:00"), label
    odd = parse_checkpoint("checkpoint_2024-02-32-00h28_epoch_4_train_200.pth.tar")
    assert np.isnat(odd.time)
    assert (odd.epoch, odd.batch) == (4, 200)


@pytest.mark.parametrize(
    "labels",
    [
        ["init.pth", "epoch_1.pth", "epoch_2.pth", "epoch_10.pth", "best.pth", "final.pth"],
        ["random_init.pt", "step_1.pt", "step_2.pt", "latest.pt"],
        ["model_0.pth", "model_1.pth", "model_10.pth", "checkpoint.pth"],
        ["train.1.pth", "train.2.pth", "train.10.pth", "last.pth"],
        ["epoch=1.ckpt", "epoch=1-v1.ckpt", "epoch=1-v2.ckpt", "epoch=2.ckpt", "last.ckpt"],
        ["untrained.pt", "step_900", "step_1k.pt", "step_1.5k.pt", "swa.pt", "ema.pt", "last.pt"],
        ["epoch_3_batch_2.pt", "epoch_3_batch_10.pt", "epoch_3.pt", "best-epoch=4.ckpt"],
        ["ckpt_2024-03-25-00h28.pt", "ckpt_2024-03-25-00h29.pt", "full", "model_final.pth"],
        # By step, and what has only an epoch among these by its epoch.
        ["init.pt", "ep1-ba300.pt", "epoch_1.pt", "ep2-ba600.pt", "epoch_7.pt", "ep8-ba900.pt"],
        ["epoch_0.pt", "epoch=1-step=10.ckpt", "step_20.pt"],
    ],
)
def test_names_are_put_into_training_order(labels: list[str]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        shuffled = rng.permutation(labels).tolist()
        order = training_order([parse_checkpoint(label) for label in shuffled])
        assert [shuffled[place] for place in order] == labels

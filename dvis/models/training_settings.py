"""What can be chosen about a training run. Free of torch: the command line reads its flags here."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from dvis.models.option_numbers import bounded

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["constant", "cosine", "step", "exponential"]
MixedPrecision = Literal["off", "bf16", "fp16"]

_DEFAULT_EPOCHS = 10
_DEFAULT_LEARNING_RATE = {"sgd": 0.05, "adamw": 0.001}

# A resumed run must agree with its checkpoint in these, or it would be another run.
FIXED_IN_A_RUN = (
    "model",
    "dataset",
    "augment",
    "batch_size",
    "optimizer",
    "learning_rate",
    "momentum",
    "nesterov",
    "weight_decay",
    "lr_schedule",
    "lr_warmup_steps",
    "lr_decay_rate",
    "lr_decay_epochs",
    "lr_min",
    "label_smoothing",
    "clip_gradient_norm",
    "amp",
    "seed",
)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of a training run, which are also the flags of `dvis train`.

    Parameters
    ----------
    model
        A torchvision model, such as resnet18, vit_tiny, a vision transformer of half a million
        weights, or a factory package.module:function.
    dataset
        Image set: imagenet1k, folder, cifar10, mnist, emnist, dsprites, digits or shapes.
    data_path
        Where the image set lies; digits and shapes need none.
    download
        Fetch the image set where it is not there and can be had.
    image_size
        Side of the input images in pixels (default: the image set's).
    augment
        Show each image in another random crop, mirrored or not, in each epoch.
    n_train
        Train on that many images (default: all).
    n_val
        Images, at most, of the validation set and again of the training set, on which losses and
        accuracies are measured at each checkpoint: always the same ones, as the model sees them
        when it is not training (no augmentation, batch norm and dropout in eval mode).
    val_fraction
        Keep that share of the training images for validation, in place of the image set's own
        validation images.
    epochs
        Times that each training image is seen (default: 10).
    steps
        Optimizer steps, in place of epochs.
    batch_size
        Images in a step. The last, incomplete batch of an epoch is left out.
    optimizer
        Stochastic gradient descent with momentum, or AdamW.
    learning_rate
        Learning rate after the warm-up (default: 0.05 for sgd, 0.001 for adamw).
    momentum
        Momentum of sgd.
    nesterov
        Nesterov's form of the momentum.
    weight_decay
        Weight decay: coupled in sgd, decoupled in adamw.
    lr_schedule
        How the learning rate falls: not at all, by half a cosine down to lr-min at the end, by
        steps, or evenly, each time by lr-decay-rate in lr-decay-epochs.
    lr_warmup_steps
        Steps over which the learning rate rises from near zero.
    lr_decay_rate
        Factor of the schedules step and exponential.
    lr_decay_epochs
        Epochs between two steps of the schedule step; those of one factor for exponential.
    lr_min
        The least learning rate that a schedule goes down to.
    label_smoothing
        Share of a label that is spread over all classes. Reported losses are without it.
    clip_gradient_norm
        Scale gradients down to that norm where they exceed it (default: never).
    patience
        Stop when the validation loss has not improved for that many epochs (default: never).
    amp
        Mixed precision, on a GPU only.
    n_checkpoints
        Checkpoints at log-spaced steps, from before the first step to after the last; 0 for none.
    every
        A checkpoint every that many batches as well (default: none).
    epoch_ends
        A checkpoint at each epoch's end as well.
    out
        Folder of the run (default: the next number in models/MODEL_checkpoints).
    resume_from_checkpoint
        Go on from a checkpoint, or from the last one in a folder. A folder that is also given as
        out may still be empty: the same command then begins a run and goes on with it.
    device
        Where to compute: cpu, cuda, cuda:1, mps.
    workers
        Processes that prepare images; 0 prepares them in this one.
    threads
        Threads that compute on the CPU (default: torch's choice). With 1, a run repeats bit for
        bit.
    seed
        Seed of the first weights, the order of the images, augmentation and dropout.

    Raises
    ------
    ValueError
        When a value is out of its range, or two of them exclude each other.
    """

    model: str
    dataset: str
    data_path: Path | None = None
    download: bool = False
    image_size: int | None = None
    augment: bool = False
    n_train: int | None = None
    n_val: int = 1000
    val_fraction: float | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    learning_rate: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    lr_schedule: Schedule = "cosine"
    lr_warmup_steps: int = 0
    lr_decay_rate: float = 0.1
    lr_decay_epochs: int = 30
    lr_min: float = 0.0
    label_smoothing: float = 0.0
    clip_gradient_norm: float | None = None
    patience: int | None = None
    amp: MixedPrecision = "off"
    n_checkpoints: int = 100
    every: int | None = None
    epoch_ends: bool = True
    out: Path | None = None
    resume_from_checkpoint: Path | None = None
    device: str = "cpu"
    workers: int = 0
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        bounded(self)
        for name in ("n_val", "batch_size", "lr_decay_epochs"):
            _require(self, name, "1 or more", getattr(self, name) >= 1)
        for name in ("n_train", "epochs", "steps", "patience", "every", "threads"):
            value = getattr(self, name)
            _require(self, name, "1 or more", value is None or value >= 1)
        for name in ("n_checkpoints", "lr_warmup_steps", "workers", "seed", "weight_decay"):
            _require(self, name, "0 or more", getattr(self, name) >= 0)
        for name in ("learning_rate", "clip_gradient_norm"):
            value = getattr(self, name)
            _require(self, name, "above 0", value is None or value > 0)
        for name in ("momentum", "label_smoothing"):
            _require(self, name, "from 0 to below 1", 0 <= getattr(self, name) < 1)
        _require(self, "lr_decay_rate", "above 0 and at most 1", 0 < self.lr_decay_rate <= 1)
        fraction = self.val_fraction
        _require(self, "val_fraction", "between 0 and 1", fraction is None or 0 < fraction < 1)
        _require(
            self, "lr_min", "0 or more, at most the learning rate", 0 <= self.lr_min <= self.peak_lr
        )
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs {self.epochs} and steps {self.steps} are given; give one")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError(
                "nesterov is a form of sgd's momentum; give --optimizer sgd --momentum"
            )

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up."""
        if self.learning_rate is None:
            return _DEFAULT_LEARNING_RATE[self.optimizer]
        return self.learning_rate

    def total_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole run, if nothing stops it early."""
        return self.steps or (self.epochs or _DEFAULT_EPOCHS) * batches_per_epoch

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, as checkpoints hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["learning_rate"] = self.peak_lr
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in values.items()
        }


def _require(settings: TrainingSettings, name: str, allowed: str, is_met: bool) -> None:
    if not is_met:
        flag = "--" + name.replace("_", "-")
        raise ValueError(f"{flag} is {getattr(settings, name)}; give a value {allowed}")

"""What changes while a model is trained: how it begins, and what checkpoints hold of it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dvis.models.building import build_model
from dvis.models.copying import private_copy
from dvis.models.schedule import Draw, seed_for
from dvis.models.training_data import TrainingData
from dvis.models.training_settings import TrainingSettings

# Weight of an auxiliary head's loss: Szegedy et al. (2015), Going deeper with convolutions,
# doi:10.1109/CVPR.2015.7298594, for GoogLeNet; torchvision's reference for Inception v3.
_AUXILIARY_WEIGHT = {"GoogLeNetOutputs": 0.3, "InceptionOutputs": 0.4}


@dataclass(kw_only=True)
class TrainingState:
    """A model in training, with what its next step needs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    # Validation loss at each epoch's end so far, for early stopping.
    val_losses: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it, on the CPU, so that any machine can load it."""
        values = {
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scaler_state_dict": self.scaler.state_dict(),
            "val_losses": list(self.val_losses),
        }
        return {name: _on_cpu(value) for name, value in values.items()}

    def restore(self, values: dict[str, Any]) -> None:
        """Become what `to_dict` told."""
        self.model.load_state_dict(values["model_state_dict"])
        self.optimizer.load_state_dict(values["optimizer_state_dict"])
        self.scaler.load_state_dict(values["scaler_state_dict"])
        self.val_losses = list(values["val_losses"])
        self.step = values["step"]


def begin(settings: TrainingSettings, data: TrainingData, device: torch.device) -> TrainingState:
    """The model before its first step, in training mode on the device, and its optimizer.

    The weights are drawn from torch's global generator, which is seeded for it.

    Raises
    ------
    ValueError
        When the model is not known, or cannot learn these images.
    """
    torch.manual_seed(seed_for(settings.seed, Draw.WEIGHTS))
    model = build_model(
        settings.model, len(data.train.classes), image_size=data.train.transform.size
    ).train()
    _check_fit(settings.model, model, data)
    model = model.to(device)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.amp == "fp16")
    return TrainingState(model=model, optimizer=_optimizer(settings, model), scaler=scaler)


def _optimizer(settings: TrainingSettings, model: nn.Module) -> torch.optim.Optimizer:
    rate, decay = settings.peak_lr, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(
        model.parameters(),
        rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=decay,
    )


def _check_fit(name: str, model: nn.Module, data: TrainingData) -> None:
    """Refuse a model that cannot learn these images, before anything is written."""
    image, _ = data.train[0]
    images = torch.stack([image, image])
    n_classes = len(data.train.classes)
    shape = " x ".join(map(str, image.shape))
    try:
        # A copy, for batch norm counts what it sees.
        outputs = private_copy(model)(images)
        classification_loss(outputs, torch.tensor([0, n_classes - 1]))
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as err:
        raise ValueError(
            f"{name} cannot learn the {n_classes} classes of {data.train.name} from images of "
            f"{shape}: {err}. Give another --image-size or --model"
        ) from err


def classification_loss(outputs: Any, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of the logits, and of those of auxiliary heads by their weight.

    Parameters
    ----------
    outputs : Tensor, (batch, class), or named tuple of such
        What the model returns in training mode.
    labels : Tensor, (batch,), int64
    label_smoothing : float
        Share of a label that is spread over all classes.
    """
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    weight = _AUXILIARY_WEIGHT.get(type(outputs).__name__, 0.0)
    losses = [cross_entropy(head, labels, label_smoothing=label_smoothing) for head in heads]
    return losses[0] + weight * sum(losses[1:], start=losses[0].new_zeros(()))


def _on_cpu(value: Any) -> Any:
    """The same nest of dicts and lists with its tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return type(value)((key, _on_cpu(item)) for key, item in value.items())
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value

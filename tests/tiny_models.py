"""Models that compute in a millisecond, and checkpoints of a run of one."""

import os
import time
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn


class TinyNet(nn.Module):
    """Two blocks of convolution, batch norm and a ReLU that both share, and a classifier."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(16, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(images)))
        hidden = self.relu(self.bn2(self.conv2(hidden)))
        return self.fc(hidden.mean((2, 3)))


def net(num_classes: int = 4) -> TinyNet:
    return TinyNet(num_classes)


def counted_net(num_classes: int = 4) -> TinyNet:
    """Writes a line with the process of each call, for models that workers are to load once."""
    with Path(os.environ["DVIS_TEST_LOADS"]).open("a") as log:
        log.write(f"{os.getpid()}\n")
    return TinyNet(num_classes)


class UnhurriedNet(TinyNet):
    """Takes long enough for two workers to be seen at work at once."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(0.5)
        return super().forward(images)


def unhurried_net(num_classes: int = 4) -> TinyNet:
    return UnhurriedNet(num_classes)


def seeded_net(seed: int = 0) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TinyNet(4).eval()
        for norm in (model.bn1, model.bn2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.bias.data.normal_()
    return model


def transformer() -> nn.Module:
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(
            image_size=16,
            patch_size=8,
            num_layers=2,
            num_heads=2,
            hidden_dim=12,
            mlp_dim=24,
            num_classes=5,
        ).eval()
        nn.init.normal_(model.heads.head.weight)  # zero until trained: no gradient
    return model


def convolutional(num_classes: int) -> nn.Module:
    """Batch norm and dropout: what evaluation and chance could disturb."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64, num_classes),
    )


def linear(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, num_classes))


def write_checkpoints(folder: Path, n_checkpoints: int) -> list[Path]:
    """Checkpoints of a made-up run, whose weights move from one to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    start, end = seeded_net(0).state_dict(), seeded_net(1).state_dict()
    for i in range(n_checkpoints):
        share = i / max(1, n_checkpoints - 1)
        state = {
            name: torch.lerp(value, end[name], share) if value.is_floating_point() else value
            for name, value in start.items()
        }
        path = folder / f"checkpoint_2024-03-25-00h{i:02d}_epoch_0_train_{10 * i}.pth.tar"
        facts = {"step": 10 * i, "metrics": {"val_loss": 2.0 - share}}
        facts["input"] = {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "channels": 3}
        torch.save({"model_state_dict": state, **facts}, path)
        paths.append(path)
    return paths


def head(num_classes: int = 2) -> nn.Module:
    """One linear layer, called `fc`."""
    return nn.Sequential(OrderedDict(fc=nn.Linear(3, num_classes)))


def named_like_wrappers(num_classes: int = 4) -> nn.Module:
    """A network whose own children are called as wrappers are."""
    inner = nn.Sequential(OrderedDict(module=nn.Linear(3, 5), model=nn.Linear(5, 5)))
    return nn.Sequential(OrderedDict(module=inner, model=nn.Linear(5, num_classes)))

"""Small models of the kinds that people bring, by factories `tiny_architectures:NAME`."""

import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

N_CLASSES = 4


class LeNet(nn.Module):
    """As tutorials write it: a view before the classifier."""

    def __init__(self, n_colours: int = 3) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(n_colours, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 24), nn.Linear(24, N_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.pool(F.relu(self.conv1(images)))
        hidden = self.pool(F.relu(self.conv2(hidden))).view(-1, 16 * 5 * 5)
        return self.fc2(F.relu(self.fc1(hidden)))


class SegNet(nn.Module):
    """Unpools by the indices of its pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.bn1, self.relu = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)
        self.conv3 = nn.Conv2d(6, N_CLASSES, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        hidden, indices = self.pool(self.relu(self.bn1(self.conv1(images))))
        return self.conv3(self.unpool(F.relu(self.conv2(hidden)), indices))


class UNet(nn.Module):
    """Joins what it has halved and doubled again with what it had."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.pool = nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.out = nn.Conv2d(16, N_CLASSES, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        wide = F.relu(self.down(images))
        return self.out(torch.cat([wide, self.up(F.relu(self.deep(self.pool(wide))))], 1))


class Checkpointed(nn.Module):
    """Trades memory for time, in the older way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, N_CLASSES, 3)
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        return self.conv2(checkpoint(self.block, self.conv1(images), use_reentrant=True))


class LayerNormed(nn.Module):
    """Channels last, normalised, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.LayerNorm(8)
        self.conv2 = nn.Conv2d(8, N_CLASSES, 3)

    def forward(self, images: Tensor) -> Tensor:
        normed = self.norm(self.conv1(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.conv2(F.gelu(normed))


def _between(normed: Callable[[nn.Module], nn.Module], norm: nn.Module | None = None) -> nn.Module:
    """Two convolutions of which each is made by a function, with a norm after each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of what is tested
        return nn.Sequential(
            normed(nn.Conv2d(3, 8, 3)),
            nn.BatchNorm2d(8) if norm is None else norm,
            nn.ReLU(),
            normed(nn.Conv2d(8, N_CLASSES, 3)),
            nn.BatchNorm2d(N_CLASSES),
        )


def segnet() -> nn.Module:
    return SegNet()


def unet() -> nn.Module:
    return UNet()


def lenet() -> nn.Module:
    return LeNet()


def grey() -> nn.Module:
    return LeNet(n_colours=1)


def checkpointed() -> nn.Module:
    return Checkpointed()


def weight_normed() -> nn.Module:
    return _between(nn.utils.weight_norm)


def spectral_normed() -> nn.Module:
    return _between(nn.utils.spectral_norm)


def weight_parametrised() -> nn.Module:
    return _between(nn.utils.parametrizations.weight_norm)


def spectrum_parametrised() -> nn.Module:
    return _between(nn.utils.parametrizations.spectral_norm)


def group_normed() -> nn.Module:
    return _between(nn.Identity().forward, nn.GroupNorm(2, 8))


def layer_normed() -> nn.Module:
    return LayerNormed()


def batch_mixing() -> nn.Module:
    """Batch norm that has no running statistics."""
    return _between(nn.Identity().forward, nn.BatchNorm2d(8, track_running_stats=False))


def vit() -> nn.Module:
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    nn.init.normal_(model.heads.head.weight)  # zero until trained: no gradient
    return model


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[2, 1], num_heads=[1, 2], window_size=[4, 4]
    )


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=N_CLASSES)


def efficientnet() -> nn.Module:
    block = partial(MBConvConfig, kernel=3, num_layers=1, width_mult=1.0, depth_mult=1.0)
    stages = [
        block(expand_ratio=1, stride=1, input_channels=8, out_channels=8),
        block(expand_ratio=4, stride=2, input_channels=8, out_channels=16),
    ]
    return EfficientNet(stages, dropout=0.2, last_channel=32, num_classes=N_CLASSES)


def mobilenet() -> nn.Module:
    return torchvision.models.MobileNetV2(num_classes=N_CLASSES, width_mult=0.25)


def inception() -> nn.Module:
    return torchvision.models.Inception3(
        num_classes=N_CLASSES, aux_logits=False, init_weights=False
    )


def seeded(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A model with random weights, and statistics of batch norm as of one that was trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = factory()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()

"""A vision transformer that is trained in minutes: torchvision's class with small numbers."""

from torch import nn

NAME = "vit_tiny"
_SIDE = 8  # patches along a side, or about so many
_LAYERS, _HEADS, _WIDTH = 4, 3, 96


def vit_tiny(*, num_classes: int = 1000, image_size: int = 64) -> nn.Module:
    """A vision transformer with a class token, of random weights.

    It has 4 blocks of 96 channels with 3 heads, and 8 x 8 patches, or about so many where the
    image's side is no multiple of 8: 0.5 million weights. Its layers are called as those of
    torchvision's `vit_b_16`.

    Parameters
    ----------
    num_classes : int
        Classes to tell apart.
    image_size : int
        Height and width of the images in pixels.

    Examples
    --------
    >>> vit_tiny(num_classes=10, image_size=28).patch_size
    4
    """
    from torchvision.models import VisionTransformer

    divisors = [n for n in range(1, image_size + 1) if image_size % n == 0]
    module: nn.Module = VisionTransformer(
        image_size=image_size,
        patch_size=min(divisors, key=lambda n: abs(n - image_size / _SIDE)),
        num_layers=_LAYERS,
        num_heads=_HEADS,
        hidden_dim=_WIDTH,
        mlp_dim=4 * _WIDTH,
        num_classes=num_classes,
    )
    return module

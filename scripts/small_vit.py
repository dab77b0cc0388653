"""A vision transformer small enough to train on a laptop, with layers that torchvision's have."""

from torchvision.models import VisionTransformer


def small_vit(num_classes: int = 10) -> VisionTransformer:
    """Four blocks of 64 channels, 8 x 8 patches of images of 32 x 32 pixels and a class token.

    Parameters
    ----------
    num_classes : int
        Classes to tell apart.
    """
    return VisionTransformer(
        image_size=32,
        patch_size=4,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=num_classes,
    )

"""A network small enough for chains to settle around its weights, for `make demo`."""

from itertools import pairwise

from torch import Tensor, nn

_WIDTH = 8
_START = 0.3  # of the usual deviation: from small weights it learns in stages


class DigitNet(nn.Module):
    """A perceptron of 682 weights for grey digits of 8 x 8 pixels.

    Parameters
    ----------
    num_classes : int
        Digits to tell apart.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        sizes = (64, _WIDTH, _WIDTH, num_classes)
        linear = [nn.Linear(*pair) for pair in pairwise(sizes)]
        for layer in linear:
            nn.init.normal_(layer.weight, std=_START / layer.in_features**0.5)
            nn.init.zeros_(layer.bias)
        self.hidden1, self.hidden2, self.logits = linear

    def forward(self, images: Tensor) -> Tensor:
        """Logits (image, digit) of images (image, channel, y, x)."""
        first = self.hidden1(images.mean(1).flatten(1)).tanh()
        logits: Tensor = self.logits(self.hidden2(first).tanh())
        return logits

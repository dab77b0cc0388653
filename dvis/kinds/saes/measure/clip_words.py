"""Names of latents by OpenCLIP: the word of a list that fits images best, of weights of a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dvis.kinds.saes.namers import Shown
from dvis.models.safe_load import load_safely
from dvis.models.safetensors_files import is_safetensors, load_safetensors
from dvis.models.zoo import construct_clip

PROMPT = "a photo of a {}"
_TOGETHER = 64  # images, or words, in a pass


class ByClip:
    r"""The word that OpenCLIP finds most likely of the images, by zero-shot classification.

    With unit vectors x of an image and :math:`w_k` of words, and the temperature :math:`\tau` of
    the model's weights, a word's probability is :math:`softmax_k(\tau \, x \cdot w_k)`. A name is
    the word of highest mean probability over the images, which is its score: it depends on which
    other words there are.

    Parameters
    ----------
    words : sequence of str
        Two words or more, each once.
    model : str
        Name of an OpenCLIP model, such as ViT-B-32.
    weights : Path
        A file of its weights; none are downloaded.
    prompt : str
        Text about a word.

    Raises
    ------
    ImportError
        When OpenCLIP is not installed.
    FileNotFoundError
        When there are no weights.
    ValueError
        When there is no such model, the weights are not its, or there are fewer than two words.

    References
    ----------
    Radford et al. (2021), Learning transferable visual models from natural language supervision,
    arXiv:2103.00020.
    """

    def __init__(
        self, words: Sequence[str], model: str, weights: Path, *, prompt: str = PROMPT
    ) -> None:
        self._words = list(dict.fromkeys(each.strip() for each in words if each.strip()))
        if len(self._words) < 2:
            raise ValueError(f"there are {len(self._words)} words to choose from; give 2 or more")
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"No weights of OpenCLIP at {path}. dvis downloads none: give a file of them, such "
                f"as open_clip_model.safetensors of a model like {model}"
            )
        self._network, self._tokens, self._transform = construct_clip(model)
        self._fill(path, model)
        self.by = f"open_clip {model}"
        self._known: dict[str, torch.Tensor] = {}
        self._texts = self._of_words([prompt.format(each) for each in self._words])

    def name(self, shown: Shown) -> tuple[str, float]:
        """The word of highest mean probability, and that."""
        means = self._probabilities(shown)
        best = int(means.argmax())
        return self._words[best], float(means[best])

    def score(self, text: str, shown: Shown) -> float | None:
        """Mean probability of a word of the list over images."""
        return float(self._probabilities(shown)[self._words.index(text)])

    def _fill(self, path: Path, model: str) -> None:
        loaded: Any = load_safetensors(path)[0] if is_safetensors(path) else load_safely(path)
        loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
        states = {str(name).removeprefix("module."): each for name, each in loaded.items()}
        try:
            self._network.load_state_dict(states)
        except RuntimeError as err:
            first = str(err).splitlines()[-1].strip()
            raise ValueError(f"the weights of {path} are not those of {model}: {first}") from err
        self._network.eval()

    @torch.no_grad()
    def _of_words(self, texts: Sequence[str]) -> torch.Tensor:
        parts = [
            self._network.encode_text(self._tokens([*texts[first : first + _TOGETHER]]))
            for first in range(0, len(texts), _TOGETHER)
        ]
        return torch.nn.functional.normalize(torch.cat(parts), dim=1)

    @torch.no_grad()
    def _probabilities(self, shown: Shown) -> np.ndarray:
        """Mean over images of each word's probability, (word,)."""
        new = [place for place, each in enumerate(shown.ids) if each not in self._known]
        for first in range(0, len(new), _TOGETHER):
            some = new[first : first + _TOGETHER]
            pictures = [_picture(shown.images[place]) for place in some]
            batch = torch.stack([self._transform(each) for each in pictures])
            for place, vector in zip(some, self._network.encode_image(batch), strict=True):
                self._known[shown.ids[place]] = torch.nn.functional.normalize(vector, dim=0)
        images = torch.stack([self._known[each] for each in shown.ids])
        logits = self._network.logit_scale.exp() * images @ self._texts.T
        means: np.ndarray = logits.softmax(1).mean(0).double().numpy()
        return means


def _picture(image: np.ndarray) -> Image.Image:
    """A thumbnail as a picture of three colours."""
    return Image.fromarray(image if image.shape[-1] == 3 else np.repeat(image, 3, -1))

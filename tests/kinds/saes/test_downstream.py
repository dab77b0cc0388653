"""Downstream: hooks that replace x by x change nothing, the others what they say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_up_saes import N_CHANNELS, N_LATENTS, made_up_autoencoder
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.downstream import downstream, logit_effects
from dvis.kinds.saes.measure.patching import Patched

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(12, 3, 6, 6, generator=GENERATOR)
TARGETS = torch.arange(12) % 4
BATCHES = [(IMAGES[:8], TARGETS[:8]), (IMAGES[8:], TARGETS[8:])]
MEAN = np.linspace(-1, 1, N_CHANNELS)


class Tokens(nn.Module):
    """Patches as tokens, whose block gives a tuple, as attention does."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(N_CHANNELS, N_CHANNELS)

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return x + self.linear(x), None

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, N_CHANNELS, 2, stride=2)
        self.block = self.Block()
        self.head = nn.Linear(N_CHANNELS, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.block(tokens)[0].relu().mean(1))


def convolutions() -> nn.Module:
    """A net whose ReLU changes what the layer gave in place."""
    layers = [nn.Conv2d(3, N_CHANNELS, 3), nn.ReLU(inplace=True), nn.Conv2d(N_CHANNELS, 5, 3)]
    return nn.Sequential(*layers, nn.Dropout(), nn.Flatten(), nn.Linear(20, 4))


def vit() -> nn.Module:
    """A vision transformer of nine patches and a class token."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": N_CHANNELS, "mlp_dim": 16}
    model = VisionTransformer(image_size=6, patch_size=2, num_classes=4, **sizes)
    nn.init.normal_(model.heads.head.weight)  # zeros, until it is trained
    return model


CASES = [
    (convolutions, "0"),
    (Tokens, "block"),
    (Tokens, "embed"),
    (vit, "encoder.layers.encoder_layer_0"),
    (vit, "conv_proj"),
]


@pytest.mark.parametrize(("build", "layer"), CASES)
def test_losses_are_those_of_rows_replaced_by_hand(build: Any, layer: str) -> None:
    torch.manual_seed(0)
    model, autoencoder = build(), made_up_autoencoder()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = downstream(autoencoder, model, layer, BATCHES, mean=MEAN)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)
    model.eval()

    def by_hand(replace: Any) -> float:
        """The loss where a function of (..., channel) replaces what the layer gives."""

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            x = output[0] if isinstance(output, tuple) else output
            dim = 1 if x.ndim == 4 else 2
            new = torch.as_tensor(replace(x.movedim(dim, -1).detach().numpy()))
            new = new.float().movedim(-1, dim)
            return (new, None) if isinstance(output, tuple) else new

        handle = model.get_submodule(layer).register_forward_hook(hook)
        with torch.no_grad():
            loss = functional.cross_entropy(model(IMAGES), TARGETS)
        handle.remove()
        return float(loss)

    wanted = {
        "loss_sae": by_hand(autoencoder.reconstruct),
        "loss_mean": by_hand(lambda x: 0 * x + MEAN),
        "loss_zero": by_hand(np.zeros_like),
    }
    for name, loss in wanted.items():
        assert found[name].item() == pytest.approx(loss, rel=1e-5), name
    with torch.no_grad():
        losses = functional.cross_entropy(model(IMAGES), TARGETS, reduction="none")
    assert found.loss_clean.item() == pytest.approx(float(losses.mean()), rel=1e-6)
    harm = wanted["loss_mean"] - float(losses.mean())
    if harm > 0:
        ratio = (wanted["loss_mean"] - wanted["loss_sae"]) / harm
        assert found.recovered.item() == pytest.approx(ratio, rel=1e-3)
    else:
        assert np.isnan(found.recovered)


@pytest.mark.parametrize(("build", "layer"), CASES)
@pytest.mark.parametrize("tokens", [None, [3, 1]])
def test_replacing_rows_by_themselves_gives_the_clean_output_exactly(
    build: Any, layer: str, tokens: Any
) -> None:
    torch.manual_seed(0)
    model = build()
    patched = Patched(model, layer, IMAGES, tokens=tokens)
    clean = patched(IMAGES)
    assert torch.equal(patched(IMAGES, lambda rows: rows.clone()), clean)
    # Torch adds up otherwise where weights want no gradient.
    torch.testing.assert_close(clean, model.eval()(IMAGES), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(patched(IMAGES, lambda rows: rows.flip(-1)), clean)


def test_only_the_tokens_named_are_changed() -> None:
    seen = []
    patched = Patched(Tokens(), "block", IMAGES, tokens=[2, 0])
    whole = Patched(Tokens(), "block", IMAGES)
    patched(IMAGES, lambda rows: seen.append(rows) or rows)
    whole(IMAGES, lambda rows: seen.append(rows) or rows)
    assert [rows.shape for rows in seen] == [(12, 2, N_CHANNELS), (12, 9, N_CHANNELS)]


def test_perfect_reconstruction_recovers_all_the_loss() -> None:
    eye = np.concatenate([np.eye(N_CHANNELS), -np.eye(N_CHANNELS)]).astype(np.float32)
    none = np.zeros(2 * N_CHANNELS, np.float32)
    perfect = Autoencoder(
        encoder=eye,
        decoder=eye,
        encoder_bias=none,
        decoder_bias=none[:N_CHANNELS],
        threshold=none,
        kind="relu",
        k=1,
    )
    torch.manual_seed(1)
    model = convolutions().eval()
    targets = model(IMAGES).argmax(1)  # so that the mean row does harm
    found = downstream(perfect, model, "0", [(IMAGES, targets)], mean=MEAN)
    assert found.recovered.item() == pytest.approx(1, abs=1e-6)


def test_effect_of_a_latent_is_what_a_linear_head_says() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, N_CHANNELS, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(N_CHANNELS, 4))
    autoencoder = made_up_autoencoder()
    found = logit_effects(autoencoder, model, "0", IMAGES, n_images=5, batch_size=3)
    codes = autoencoder.encode(model[0](IMAGES).movedim(1, -1).flatten(1, 2).detach().numpy())
    toward = autoencoder.decoder @ model[3].weight.detach().numpy().T
    for latent in range(N_LATENTS):
        own = np.argsort(-codes[..., latent].max(1), kind="stable")[:5]
        own = own[codes[own, :, latent].max(1) > 0]
        assert found.n_images[latent].item() == len(own)
        effect = found.effect.sel(control="value").isel(latent=latent)
        if not len(own):
            assert np.isnan(effect).all()
            continue
        wanted = -codes[own, :, latent].mean() * toward[latent]
        np.testing.assert_allclose(effect, wanted, rtol=1e-3, atol=1e-5)
    random = found.effect.sel(control="random direction")
    assert np.isnan(random).equals(
        np.isnan(found.effect.sel(control="value")).assign_coords(control="random direction")
    )
    some = logit_effects(autoencoder, model, "0", IMAGES, latents=[4, 2], n_images=5)
    np.testing.assert_allclose(
        some.effect.sel(control="value"),
        found.effect.sel(control="value", latent=[4, 2]),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_random_direction_is_as_long_as_the_latents_own() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, N_CHANNELS, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(N_CHANNELS, 4))
    one = made_up_autoencoder()
    longer = replace(one, decoder=3 * one.decoder)
    once, thrice = (logit_effects(each, model, "0", IMAGES).effect for each in (one, longer))
    assert np.isfinite(once).any()
    for control in ("value", "random direction"):
        np.testing.assert_allclose(
            thrice.sel(control=control), 3 * once.sel(control=control), rtol=1e-3, atol=1e-5
        )


def test_wrong_input_is_told() -> None:
    model, autoencoder = convolutions(), made_up_autoencoder()
    with pytest.raises(KeyError, match="No layer '9'"):
        downstream(autoencoder, model, "9", BATCHES, mean=MEAN)
    with pytest.raises(ValueError, match="has 5 channels, but the autoencoder was trained on 8"):
        downstream(autoencoder, model, "2", BATCHES, mean=MEAN)
    with pytest.raises(ValueError, match="there are no images"):
        downstream(autoencoder, model, "0", [], mean=MEAN)
    with pytest.raises(ValueError, match="mean has shape \\(3,\\)"):
        downstream(autoencoder, model, "0", BATCHES, mean=MEAN[:3])
    with pytest.raises(ValueError, match="a number a sample"):
        downstream(autoencoder, model, "0", BATCHES, mean=MEAN, loss=functional.cross_entropy)
    with pytest.raises(ValueError, match="not finite"):
        downstream(autoencoder, model, "0", [(IMAGES * np.nan, TARGETS)], mean=MEAN)
    with pytest.raises(ValueError, match="some of 0 to 15"):
        Patched(model, "0", IMAGES, tokens=[16])
    with pytest.raises(ValueError, match="some of 0 to 19, each once"):
        logit_effects(autoencoder, model, "0", IMAGES, latents=[20])
    with pytest.raises(ValueError, match="3 classes for 4 logits"):
        logit_effects(autoencoder, model, "0", IMAGES, classes=("a", "b", "c"))


def test_layer_that_runs_twice_and_a_random_model_are_told() -> None:
    relu = nn.ReLU()
    twice = nn.Sequential(nn.Conv2d(3, N_CHANNELS, 3), relu, nn.Conv2d(N_CHANNELS, 4, 4), relu)
    with pytest.raises(ValueError, match="runs 2 times in a pass"):
        Patched(twice, "1", IMAGES)

    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(())

    with pytest.raises(RuntimeError, match="random in eval mode"):
        Patched(nn.Sequential(nn.Conv2d(3, 4, 6), Noise(), nn.Flatten()), "0", IMAGES)

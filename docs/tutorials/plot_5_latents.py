"""
Sparse autoencoders and tracks
==============================

Activations of a layer are kept, autoencoders are trained on them at every checkpoint, and their
latents are followed over training. Everything is small here: it shows the way, not what a network
learns.
"""

import copy
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import dvis
from dvis import measure

torch.manual_seed(0)
net = nn.Sequential(
    *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()),
    *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels, adam = torch.tensor(digits.target), torch.optim.Adam(net.parameters(), 0.01)
states = {"step_0": copy.deepcopy(net.state_dict())}
for step in range(1, 201):
    batch = torch.randint(len(images), (64,))
    adam.zero_grad()
    nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
    adam.step()
    if step in (30, 200):
        states[f"step_{step}"] = copy.deepcopy(net.state_dict())

# %%
# Keep what the second convolution gives, at each place of each image.
store = Path(tempfile.mkdtemp()) / "digits.zarr"
measure.activations(
    net, states, layers=["3"], dataset="digits", n_images=200, split="train",
    keep=("values", "top:16"),
    input_size=8, input_channels=1, input_mean=(0.0,), input_std=(1.0,), name="digits",
    store=store, workers=0,
)  # fmt: skip

# %%
# Train at every checkpoint, each from the one before, so that latents keep their numbers; then
# ask on held-out samples what the latents are of.
at = {"layer": "3", "name": "small"}
measure.saes(store, k=(4,), n_latents=32, tokens="40k", batch_size=512, warm_start=True,
             checkpoints="all", **at)  # fmt: skip
measure.evaluate_saes(store, **at)
found = dvis.latents(store, "3", "small")
print(found.ev.to_series().round(3), found.n_dead.to_series())

# %%
# Explained variance alone says nothing of what was learned; ``controls=True`` trains what cannot
# learn as much beside it. How often latents fire:
figure = found.dvis.latent_frequencies()

# %%
# One latent: its top images with where it fires, and its classes beside shuffled labels.
latent = int(found.frequency.isel(checkpoint=-1).argmax())
figure = found.dvis.latent_sheet(latent)

# %%
# Tracks: which latent of one checkpoint is one of the checkpoint before.
measure.track_saes(store, **at)
figure = dvis.tracks(store, "3", "small").dvis.sae_tracks()

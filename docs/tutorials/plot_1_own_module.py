"""
Your own network in ten lines
=============================

Any ``torch.nn.Module`` will do, with its checkpoints by label. A small network learns the digits of
scikit-learn here, and is kept at five moments.
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
labels = torch.tensor(digits.target)

# %%
# Train, and keep what the weights are at some steps.
states = {"step_0": copy.deepcopy(net.state_dict())}
adam = torch.optim.Adam(net.parameters(), 0.01)
for step in range(1, 201):
    batch = torch.randint(len(images), (64,))
    adam.zero_grad()
    nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
    adam.step()
    if step in (10, 30, 80, 200):
        states[f"step_{step}"] = copy.deepcopy(net.state_dict())

# %%
# Measure. The module is copied and stays as it is. What the store has is not made again.
store = Path(tempfile.mkdtemp()) / "digits.zarr"
report = measure.features(
    net, states, layers=["2", "6"], channels=range(4), max_iterations=48,
    input_size=16, input_channels=1, input_mean=(0.0,), input_std=(1.0,), store=store, workers=0,
)  # fmt: skip
print(report.n_measured, "images made,", report.n_failed, "failed")

# %%
# Read. Everything is labelled: checkpoint, layer, channel.
ds = dvis.open(store)
ds

# %%
# How strongly the best image drives each of four channels, over training:
figure = ds.dvis.trajectory("2", range(4), x="step", variable="activation")

# %%
# And the images themselves. A hatched frame holds none.
figure = ds.dvis.timeline("6", 3)

# %%
# The last layer's outputs are the ten digits. An optimised image shows what drives the output,
# which need not look like a digit: no number here says that people would see what the network
# does.

"""
Circuits
========

Which channels of an earlier layer a channel is built of, at every checkpoint: each channel is
replaced by its mean, and what all later channels then give is compared.
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
net = nn.Sequential()
for name, before, after in (("early", 1, 6), ("middle", 6, 8), ("late", 8, 8)):
    net.add_module(name, nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU()))
net.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)))
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels, adam = torch.tensor(digits.target), torch.optim.Adam(net.parameters(), 0.01)
states = {"step_0": copy.deepcopy(net.state_dict())}
for step in range(1, 201):
    batch = torch.randint(len(images), (64,))
    adam.zero_grad()
    nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
    adam.step()
    if step in (10, 50, 200):
        states[f"step_{step}"] = copy.deepcopy(net.state_dict())

# %%
# All pairs of channels of three layers, over 64 images.
store = Path(tempfile.mkdtemp()) / "digits.zarr"
measure.influence(
    net, states, layers=["early", "middle", "late"], dataset="digits", n_images=64, input_size=8,
    input_channels=1, input_mean=(0.0,), input_std=(1.0,), store=store, workers=0,
)  # fmt: skip
influence = dvis.influence(store)
influence

# %%
# A channel that answers, and its strongest inputs. Influence is in standard deviations of the
# target.
final = influence.response_sd.isel(checkpoint=-1)
channel = int(influence.strength.isel(checkpoint=-1).sel(layer_to="late").sum(
    ["layer_from", "channel_from"]).argmax("channel_to"))  # fmt: skip
influence.dvis.top_inputs("late", channel, k=3)

# %%
# When its inputs come up:
figure = influence.dvis.edge_heatmap("late", channel)

# %%
# And the circuit behind it:
figure = influence.dvis.circuit_graph("late", channel)

# %%
# How far it can be relied on: the order of sources of each target, by even images and by odd ones.
influence.dvis.reliability()

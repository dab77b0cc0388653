"""
A run of torchvision's kind, to births
======================================

``dvis train`` and ``dvis visualize`` in Python: a run that saves checkpoints, feature images of
each, what units answer to fixed images, and from when on they do. A ResNet-18 takes minutes on a
CPU (``make demo`` does it); to run in seconds, the network here is a perceptron. Give
``"resnet18"`` and the folder of your checkpoints, and the lines are the same.
"""

import copy
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import dvis
from dvis import measure

torch.manual_seed(1)
layers = ["first", "second", "third", "fourth", "fifth"]
net, width = nn.Sequential(nn.Flatten()), 64
for name in layers:
    net.add_module(name, nn.Sequential(nn.Linear(width, 24), nn.ReLU()))
    width = 24
net.add_module("logits", nn.Linear(width, 10))
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
states, adam = {"step_0": copy.deepcopy(net.state_dict())}, torch.optim.Adam(net.parameters(), 3e-3)
for step in range(1, 301):
    batch = torch.randint(len(images), (64,))
    adam.zero_grad()
    nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
    adam.step()
    if step in (5, 10, 20, 40, 80, 160, 300):
        states[f"step_{step}"] = copy.deepcopy(net.state_dict())

# %%
# What every unit answers to 100 digits, at every checkpoint:
store = Path(tempfile.mkdtemp()) / "perceptron.zarr"
measure.responses(
    net, states, layers=layers, dataset="digits", n_images=100, input_size=8, input_channels=1,
    input_mean=(0.0,), input_std=(1.0,), store=store, workers=0,
)  # fmt: skip
answers = dvis.responses(store)

# %%
# A unit is born when its answers come to be like its final ones, and stay so:
births = answers.dvis.births().load()
figure = answers.dvis.births_by_layer(x="step", births=births)

# %%
# Do earlier layers settle first? There is an interval and, where layers can be exchanged, a p;
# and a sentence on what it cannot tell.
order = births.dvis.birth_order()
order

# %%
print(births.attrs["measure"], "-", births.attrs["comment"])

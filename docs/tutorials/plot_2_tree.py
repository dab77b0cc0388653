"""
A tree of jpg and json files
============================

Runs that wrote a jpg and an info.json for each unit become one store. Here such a tree is written
first, from random pictures, so that there is one to import.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import dvis

folder = Path(tempfile.mkdtemp())
tree = folder / "feature_images" / "resnet18"
rng = np.random.default_rng(0)
for i, batch in enumerate((0, 200, 400)):
    checkpoint = (
        tree / "checkpoints" / f"checkpoint_2024-03-25-00h{10 + i}_epoch_0_train_{batch}.pth.tar"
    )
    checkpoint.mkdir(parents=True)
    for layer in ("layer1", "layer2"):
        for channel in range(3):
            stem = f"layer_{layer}_channel_{channel}_average"
            blurred = rng.integers(0, 256, (4 + 4 * i, 4 + 4 * i, 3), dtype=np.uint8)
            Image.fromarray(blurred).resize((64, 64)).save(checkpoint / f"{stem}.jpg")
            info = {
                "Layer": layer, "Channel": channel, "Neuron": None, "Aggregation": "average",
                "Image Number": 0, "Activation": 1.0 + i + channel, "Convergence Iteration": 20,
                "Parameters": {"max_iterations": 20, "seed": 0}, "Loss Values": [0.0, -1.0 - i],
            }  # fmt: skip
            (checkpoint / f"{stem}.info.json").write_text(json.dumps(info))

# %%
# The import. ``dvis ingest feature_images/resnet18`` is the same; run again, it reads what is new.
(report,) = dvis.ingest_tree(tree, store=folder / "resnet18.zarr", batches_per_epoch=1000)
print(report.n_read, "units read,", len(report.problems), "problems")

# %%
# One store, in training order, with the steps that the names tell:
ds = dvis.open(folder / "resnet18.zarr")
print(ds.step.values, ds.step.attrs["source"])
line = ds.sel(layer="layer2", channel=0).activation.plot()

# %%
figure = ds.dvis.timeline("layer2", 0)

# %%
# Nothing is lost: the tree comes back, pictures byte for byte.
dvis.export_tree(folder / "resnet18.zarr", folder / "out")
name = "layer_layer1_channel_0_average.jpg"
same = [
    (folder / "out" / "resnet18" / path.relative_to(tree)).read_bytes() == path.read_bytes()
    for path in tree.rglob("*.jpg")
]
print(sum(same), "of", len(same), "pictures are the same")

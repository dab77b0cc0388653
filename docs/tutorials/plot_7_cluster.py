"""
A cluster
=========

Everything that is measured is a set of tasks, one a checkpoint, which a dask client can carry
out. Workers compute; this process alone writes the store. Here the cluster is two processes of
this machine:
"""

import tempfile
from pathlib import Path

import torch
from distributed import Client, LocalCluster
from torch import nn

import dvis
from dvis import measure

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
)
state = net.state_dict()
states = {f"step_{i}": {k: (i + 1) / 4 * v for k, v in state.items()} for i in range(4)}
store = Path(tempfile.mkdtemp()) / "net.zarr"

if __name__ == "__main__":  # what a file needs that starts processes
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        report = measure.responses(
            net, states, layers=["0", "4"], noise=16, input_size=16, store=store, client=client
        )
    print(report.n_measured, "units at checkpoints measured,", report.n_failed, "failed")

# %%
# This process has written what workers computed:
answers = dvis.responses(store).response.sel(layer="4", channel=range(4))
lines = answers.mean("image").plot.line(x="checkpoint")

# %%
# On Slurm the cluster alone is another. Workers need the checkpoints, not the store, so give a
# folder of files that they reach:
#
# .. code-block:: python
#
#     from dask_jobqueue import SLURMCluster
#
#     with SLURMCluster(cores=1, processes=1, memory="8GB", walltime="04:00:00") as cluster:
#         cluster.scale(jobs=20)
#         measure.features("resnet50", "models/resnet50_checkpoints/1", client=Client(cluster))
#
# A worker that dies takes nothing with it but the task it had; run the same lines again, and what
# is missing is made.

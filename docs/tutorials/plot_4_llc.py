"""
The LLC done right
==================

The local learning coefficient says how degenerate the loss is around a checkpoint's weights. What
a sampler gives is an estimate, and it may be far off with nothing to show for it. So: a case in
which the answer is known, two localisations, and the marks that dvis sets.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import dvis
from dvis import measure

# %%
# A loss of which the answer is known: three directions that count, each with the curvature 1, one
# that does not. Around its minimum the learning coefficient is 3 / 2.


class Bowl(nn.Module):
    """Weights that are the place."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(4))

    def forward(self, samples):
        return self.place.expand(len(samples), -1)


def loss(model, batch):
    """Half of the squares of three of four weights, for each sample."""
    return 0.5 * model(batch[0])[:, :3].square().sum(1)


loss.dvis_tag = "bowl"  # a store knows a loss by its name
data = torch.zeros(1000, 1), torch.zeros(1000)
store = Path(tempfile.mkdtemp()) / "bowl.zarr"
measure.llc(
    Bowl(), {"minimum": Bowl()}, data=data, loss=loss, store=store, workers=0, batch_size=100,
    epsilon=(1e-2,), gamma=(1, 10), chains=4, draws=800, burn_in=200,
)  # fmt: skip

# %%
# The estimate, its standard error, and whether its chains have settled. Burn-in is chosen when
# reading.
llc = dvis.llc(store, burn_in=200).load()
print(llc[["llc", "llc_se", "is_settled"]].squeeze().to_dataframe().round(3))

# %%
# The two localisations differ by the pull of the larger: what differs between them is not of the
# loss. With chains that are too short, the mark says so, though nothing else need look wrong:
early = dvis.llc(store, burn_in=780).load()
print(early[["llc", "llc_se", "is_settled"]].squeeze().to_dataframe().round(3))

# %%
# Every step of every chain is there to look at.
traces = dvis.llc_traces(store)
last = traces.isel(checkpoint=-1, parameters=0, epsilon=-1).sel(gamma=1)
figure = last.dvis.llc_chains()

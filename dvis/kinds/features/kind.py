"""What feature images are to the rest of dvis."""

from typing import Any

import xarray as xr

from dvis import plots
from dvis.kinds.features import pictures
from dvis.kinds.features.check import feature_faults
from dvis.kinds.features.command import compact, verify, visualize_command
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.parts import seed_curves
from dvis.kinds.features.read import FEATURE_READER, choose_variant
from dvis.kinds.features.shown.shown_features import ShownFeatures
from dvis.kinds.features.tally import feature_problems, feature_table
from dvis.kinds.features.told import feature_sections
from dvis.kinds.features.tree.command import export, import_tree, ingest
from dvis.kinds.features.words import WORDS
from dvis.kinds.kind import Kind, plainly
from dvis.kinds.picture import OVER_TRAINING, UNIT, Picture

_OPENS: dict[str, Any] = {"opens": ("variant", "neuron"), "chosen": choose_variant}
_OVER_TRAINING = (*OVER_TRAINING, "yscale")


def _grid(dataset: xr.Dataset, *, channel: tuple[int, ...] | None, **options: Any) -> None:
    pictures.grid(dataset, channels=channel, **options)


FEATURES = Kind(
    reader=FEATURE_READER,
    words=lambda _attrs: WORDS,
    group=FeatureGroup,
    faults=feature_faults,
    describe=feature_table,
    problems=feature_problems,
    parts=seed_curves,
    shown=ShownFeatures,
    told=feature_sections,
    imported=import_tree,
    commands={
        "visualize": visualize_command,
        "verify": plainly(verify),
        "ingest": plainly(ingest),
        "export": plainly(export),
        "compact": plainly(compact),
    },
    pictures={
        "trajectory": Picture(draw=plots.trajectory, options=_OVER_TRAINING, **_OPENS),
        "layers": Picture(draw=plots.trajectories_by_layer, options=_OVER_TRAINING, **_OPENS),
        "timeline": Picture(
            draw=pictures.timeline, options=("max_images",), **_OPENS, one=("layer",)
        ),
        "development": Picture(
            draw=pictures.development,
            options=(*_OVER_TRAINING, "max_images"),
            **_OPENS,
            one=UNIT,
        ),
        "grid": Picture(draw=_grid, options=("checkpoint", "max_images"), **_OPENS, one=("layer",)),
        "seeds": Picture(draw=pictures.seeds, options=("x", "xscale"), **_OPENS),
        "heatmap": Picture(draw=plots.heatmap, options=OVER_TRAINING, **_OPENS),
        "births": Picture(draw=plots.births_by_layer, options=OVER_TRAINING, **_OPENS),
    },
)

"""How feature images are made: every option of the optimisation, and the presets.

Free of torch, so that the command line and stores can name the options where torch is absent.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dvis.kinds.features.latent_names import name_and_numbers
from dvis.models.option_numbers import at_least, bounded
from dvis.schema import did_you_mean
from dvis.sweep.place import RunOptions

Preset = Literal["default", "original"]
Param = Literal["pixel", "fourier", "maco"]
Schedule = Literal["constant", "exponential", "cosine"]
Precision = Literal["float32", "bfloat16"]


_NOT_NEGATIVE = (
    *("convergence_threshold", "lr_min", "reg_lambda", "jitter_scale"),
    *("tv_weight", "decorrelation_weight", "diversity_weight"),
)

# Views of an image are made of one that is so much larger.
_MOST = {"jitter_scale": 224, "scale_range": 16, "crop_factor": 16, "rotation": 360}
_MOST |= {"gauss_kernel_size": 1023}

# Of layers without a map: four logits of EfficientNet Lite0 keep 37 in views that they were not
# made for, and 31 without this.
_WIDE_JITTER, _WIDE_SCALES, _WIDE_LEARNING_RATE = 16.0, (0.8, 1.2), 0.05
_OF_WIDE_VIEWS = "jitter_scale", "scale_range", "learning_rate"


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Options of activation maximisation.

    Parameters
    ----------
    preset
        The defaults of all others: default, or original (the plain loop over pixels of the old
        command: randn start, Adam with coupled weight decay, stop when the last losses agree).
    param
        What is optimised: pixels, Fourier coefficients under 1/f scaling with decorrelated
        colours, or (maco) phases alone, under a fixed magnitude spectrum.
    max_iterations
        Steps at most.
    min_iterations
        Steps at least.
    convergence_threshold
        An image stops when it gains less than this share of its activation over a window
        (stop_rule relative), or when its last losses differ by less than this (absolute).
    convergence_window
        Steps that the stop rule looks back.
    stop_rule
        How an image stops by itself: relative, absolute (the plain loop's), or never.
    keep
        Which image of an optimisation is kept: the best, or the last.
    learning_rate
        Adam's learning rate at its highest.
    shared_scale
        How far the steps of an image's parameters share their scale, 0 to 1: at 0 each has its own
        (Adam), at 1 all have one, and move as their gradients do.
    lr_schedule
        How the learning rate falls: constant, exponential or cosine.
    lr_decay_rate
        Factor a step of the exponential schedule.
    lr_min
        The learning rate falls no lower.
    lr_warmup_steps
        Steps over which the learning rate rises to its highest.
    reg_lambda
        L2 regularisation of what is optimised, as Adam's coupled weight decay.
    use_jitter
        Shift the image at random at each step.
    jitter_scale
        Shift at most, in pixels of a 224 px image; proportional in others.
    use_scaling
        Scale the image at random at each step.
    scale_range
        Smallest and largest scale.
    rotation
        Turn the image at random at each step, by at most so many degrees.
    wide_views
        Show layers without a map, such as logits, at least shifts of 16 and scales of 0.8 to 1.2,
        and take steps of at most 0.05.
    use_gauss
        Blur the image at each step.
    gauss_kernel_size
        Width of the Gaussian in pixels, odd.
    use_tv_reg
        Penalise total variation.
    tv_weight
        Weight of the total variation: mean absolute difference of neighbouring pixels.
    use_decorrelation
        Penalise correlation between the colours of an image.
    decorrelation_weight
        Weight of that penalty: mean squared correlation of the pairs of colours.
    diversity_weight
        Weight of the likeness between the images of a unit, where there are several: at 1, images
        that are all alike (cosine of their Gram matrices) lose as much as they activate.
    feature_image_size
        Side of the images in pixels, where it is not what the model takes (default: --input-size).
    crop_factor
        Optimise an image so many times as large, and keep its centre.
    seed
        Seed; each image's own is derived from it, its layer, channel and image number.
    """

    preset: Preset = "default"
    param: Param = "fourier"
    max_iterations: int = 256
    min_iterations: int = 64
    convergence_threshold: float = 0.005
    convergence_window: int = 32
    stop_rule: Literal["relative", "absolute", "never"] = "relative"
    keep: Literal["best", "last"] = "best"
    learning_rate: float = 0.1
    shared_scale: float = 0.5
    lr_schedule: Schedule = "constant"
    lr_decay_rate: float = 0.99
    lr_min: float = 0.0
    lr_warmup_steps: int = 0
    reg_lambda: float = 0.0
    use_jitter: bool = True
    jitter_scale: float = 8.0
    use_scaling: bool = True
    scale_range: tuple[float, float] = (0.95, 1.05)
    rotation: float = 5.0
    wide_views: bool = True
    use_gauss: bool = False
    gauss_kernel_size: int = 3
    use_tv_reg: bool = False
    tv_weight: float = 0.1
    use_decorrelation: bool = False
    decorrelation_weight: float = 0.1
    diversity_weight: float = 0.0
    feature_image_size: int | None = None
    crop_factor: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounded(self, **_MOST)
        at_least("max_iterations", self.max_iterations, 1)
        at_least("convergence_window", self.convergence_window, 1)
        at_least("crop_factor", self.crop_factor, 1.0)
        at_least("rotation", self.rotation, 0.0)
        for name in ("min_iterations", "lr_warmup_steps", "seed"):
            at_least(name, getattr(self, name), 0)
        for name in _NOT_NEGATIVE:
            at_least(name, getattr(self, name), 0.0)
        at_least("feature_image_size", self.feature_image_size, 1)
        if self.learning_rate <= 0 or not math.isfinite(self.learning_rate):
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.shared_scale <= 1:
            raise ValueError(f"shared_scale is {self.shared_scale}; it must lie in 0 to 1")
        if self.gauss_kernel_size < 1 or self.gauss_kernel_size % 2 == 0:
            raise ValueError(f"gauss_kernel_size is {self.gauss_kernel_size}; it must be odd")
        low, high = self.scale_range
        if not 0 < low <= high:
            raise ValueError(f"scale_range is {low} {high}; give the smaller first, above 0")

    @property
    def is_transformed(self) -> bool:
        """Whether the model is shown a randomly moved image."""
        return self.use_jitter or self.use_scaling or self.rotation > 0

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.lr_warmup_steps:
            return self.learning_rate * (step + 1) / self.lr_warmup_steps
        step -= self.lr_warmup_steps
        if self.lr_schedule == "exponential":
            rate = self.learning_rate * self.lr_decay_rate**step
        elif self.lr_schedule == "cosine":
            n_steps = max(1, self.max_iterations - self.lr_warmup_steps)
            rate = self.lr_min + (self.learning_rate - self.lr_min) * 0.5 * (
                1 + math.cos(math.pi * min(1.0, step / n_steps))
            )
        else:
            rate = self.learning_rate
        return max(rate, self.lr_min)

    def for_layer(self, *, has_map: bool) -> "FeatureSettings":
        """The options as they hold for a layer with or without a map."""
        if has_map or not self.wide_views:
            return self
        low, high = self.scale_range
        return replace(
            self,
            jitter_scale=max(self.jitter_scale, _WIDE_JITTER),
            scale_range=(min(low, _WIDE_SCALES[0]), max(high, _WIDE_SCALES[1])),
            learning_rate=min(self.learning_rate, _WIDE_LEARNING_RATE),
        )

    def to_parameters(self) -> dict[str, Any]:
        """The options as a store keeps them: plain values by name."""
        plain = {**asdict(self), "scale_range": list(self.scale_range)}
        if self.wide_views:
            without = asdict(self.for_layer(has_map=False))
            without["scale_range"] = list(without["scale_range"])
            plain |= {f"{name}_without_map": without[name] for name in _OF_WIDE_VIEWS}
        return plain


# The plain loop of the old command. Known weaknesses: the decay outweighs the objective by 2 to
# 1000 times at the first step, and the stop rule depends on the scale of the activation.
_ORIGINAL: dict[str, Any] = {
    "preset": "original",
    "param": "pixel",
    "max_iterations": 1000,
    "min_iterations": 2,
    "convergence_threshold": 1e-4,
    "convergence_window": 2,
    "stop_rule": "absolute",
    "keep": "last",
    "learning_rate": 0.1,
    "shared_scale": 0.0,
    "lr_schedule": "constant",
    "reg_lambda": 0.01,
    "use_jitter": False,
    "use_scaling": False,
    "rotation": 0.0,
    "wide_views": False,
}
PRESETS: dict[str, FeatureSettings] = {
    "default": FeatureSettings(),
    "original": FeatureSettings(**_ORIGINAL),
}


def feature_settings(
    preset: Preset = "default", options: Mapping[str, Any] | None = None
) -> FeatureSettings:
    """A preset, with some options set otherwise.

    Raises
    ------
    KeyError
        When there is no such preset or option.
    ValueError
        When an option is out of its range.
    """
    if preset not in PRESETS:
        raise KeyError(did_you_mean("preset", preset, PRESETS, "dvis"))
    names = [field.name for field in fields(FeatureSettings)]
    given = dict(options or {})
    for name in given:
        if name not in names:
            raise KeyError(did_you_mean("option", name, names, "feature visualisation"))
    if "scale_range" in given:
        given["scale_range"] = tuple(given["scale_range"])
    return replace(PRESETS[preset], **given)


@dataclass(frozen=True, kw_only=True)
class VisualizeOptions(RunOptions):
    """What to visualise, where to, and how.

    Parameters
    ----------
    layers
        Layers by their dotted names, which `dvis layers` lists (default: all convolutions).
    all
        Start all units of all convolutions where no layers are named and they are many.
    channels
        Channels of each layer (default: all).
    neurons
        Rows and columns of neurons, "3,4;5,6": feature images of these in place of the channels'.
    latents
        Name of a layer's sparse autoencoders, and numbers of their latents (default: all): feature
        images of these in place of the channels', of their codes before the threshold.
    aggregation
        What of a channel is maximised: its average, its sum, or a single neuron at its centre.
    number_of_images
        Images of each unit.
    restarts
        Optimisations of each image from different seeds: the best is kept, and the spread of their
        activations stored as restart_sd. One to which no gradient comes is always tried from four
        more.
    number_of_seeds
        Seeds whose images are compared with each other, for the agreement stored as
        seed_similarity, and of which none but the restarts is kept.
    cross_check
        Try the images of the checkpoints beside each unit's at its own, which is stored as
        neighbour_max, say where they activate it more than its own, and begin at them what is dead.
    refine
        Optimise those units again from that better image, and keep the better result.
    init_images_dir
        Folders of a jpg/json tree to start from; the first that has a unit's image gives it.
    init_from
        Start from noise, or from the unit's image at the checkpoint before.
    batch_size
        Images that are optimised together (default: 4 on a CPU, 64 on a GPU).
    precision
        Numbers of the forward and backward pass; bfloat16 is for GPUs, and slow on most CPUs.
    maco_images
        Folder of jpg or png files whose mean spectrum images of param maco have (default: 1/f).
    reference
        Images to whose activations feature images are held: auto (the images that the run was
        validated on, where its checkpoints tell them and they are there, else noise), noise (1/f,
        seeded), or a folder of jpg or png files.
    n_reference
        So many of these, at random; 0 measures none.
    output_path
        Also write the jpg/json tree there, such as feature_images.
    settings
        How images are made.
    """

    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer-names"])] = ()
    all: bool = False
    channels: tuple[int, ...] = ()
    neurons: str | None = None
    latents: tuple[str, ...] = ()
    aggregation: Literal["average", "sum", "single"] = "average"
    number_of_images: int = 1
    restarts: int = 1
    number_of_seeds: int = 1
    cross_check: bool = True
    refine: bool = False
    init_images_dir: tuple[Path, ...] = ()
    init_from: Literal["noise", "previous"] = "noise"
    batch_size: int | None = None
    precision: Precision = "float32"
    maco_images: Path | None = None
    reference: str = "auto"
    n_reference: int = 64
    output_path: Path | None = None
    settings: Annotated[FeatureSettings, tyro.conf.arg(name="")] = field(
        default_factory=FeatureSettings
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("number_of_images", "restarts", "number_of_seeds"):
            at_least(name, getattr(self, name), 1)
        if self.refine and not self.cross_check:
            raise ValueError("refine needs the cross-check; leave --no-cross-check out")
        at_least("batch_size", self.batch_size, 1)
        if self.n_reference != 0:  # of one image there is no spread
            at_least("n_reference", self.n_reference, 2)
        if self.init_images_dir and self.init_from == "previous":
            raise ValueError("give init_images_dir or init_from previous, not both")
        if not all(self.layers):
            raise ValueError("a layer's name is empty; leave --layers out for all convolutions")
        if self.init_images_dir and not any(map(Path.is_dir, self.init_images_dir)):
            folders = ", ".join(map(str, self.init_images_dir))
            raise FileNotFoundError(
                f"no folder {folders} with images to start from; give one of a jpg/json tree"
            )
        if self.output_path is not None and self.output_path.is_file():
            raise NotADirectoryError(
                f"{self.output_path} is a file; give a folder for the jpg/json tree"
            )
        if self.maco_images is not None and self.settings.param != "maco":
            raise ValueError(
                f"maco_images is for param maco; param is {self.settings.param}. Leave one out"
            )
        _ = self.neuron_positions
        if self.latents:
            self.check_directed()
            _ = self.latents_asked

    def check_directed(self) -> None:
        """Raise a ValueError where something is asked for that is for channels alone."""
        others = {
            "channels": bool(self.channels),
            "neurons": bool(self.neuron_positions),
            f"aggregation {self.aggregation}": self.aggregation != "average",
            "init_images_dir": bool(self.init_images_dir),
            "output_path": self.output_path is not None,
        }
        if given := [name for name, is_given in others.items() if is_given]:
            raise ValueError(
                f"{given[0]} is for channels and their jpg/json tree, and latents or other "
                "directions are asked for; leave it out: latents have numbers after their name"
            )

    @property
    def latents_asked(self) -> tuple[str, tuple[int, ...]]:
        """Name of the autoencoders, and numbers of latents, none for all."""
        return name_and_numbers(self.latents)

    @property
    def neuron_positions(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the neurons."""
        try:
            pairs = [part.split(",") for part in (self.neurons or "").split(";") if part.strip()]
            return tuple(dict.fromkeys((int(row), int(column)) for row, column in pairs))
        except ValueError:
            raise ValueError(
                f"neurons is {self.neurons!r}; give rows and columns, such as 3,4;5,6"
            ) from None

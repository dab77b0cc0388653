"""The command `visualize`."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from dvis.kinds.features.options import Preset, VisualizeOptions, options_from
from dvis.kinds.features.tree.export import export_tree
from dvis.schema import counted

_MAX_PRINTED = 20
_MADE_HOW = ("made with other options", "of other weights under the same label")


@dataclass(frozen=True)
class _Base:
    """What sets the defaults of all other options."""

    preset: Preset | None = None
    config: Path | None = None


def visualize_command(arguments: Sequence[str]) -> Callable[..., int]:
    """The command, with the defaults that its arguments' preset and option file set."""
    base, _ = tyro.cli(_Base, args=arguments, return_unknown_args=True, add_help=False)
    of_command, settings = options_from(base.preset, base.config)
    defaults: dict[str, Any] = {
        item.name: item.default for item in fields(VisualizeOptions) if item.default is not MISSING
    }
    defaults |= {"model": tyro.MISSING, **of_command, "settings": settings}
    for name in ("checkpoint_path", "init_images_dir"):
        defaults[name] = _paths(defaults[name])
    for name in ("layers", "channels"):
        defaults[name] = _several(defaults[name])
    for name in ("store", "output_path", "maco_images"):
        defaults[name] = defaults[name] and Path(str(defaults[name]))
    options_type = Annotated[VisualizeOptions, tyro.conf.arg(name="")]

    def visualize(
        options: options_type = VisualizeOptions(**defaults),  # noqa: B008
        *,
        config: Path | None = None,
    ) -> int:
        """Make the feature images of a model's checkpoints, into its store.

        Run again, it makes what is missing. Killed or stopped, it loses the batches under way.

        Parameters
        ----------
        options
            What to visualise, where to, and how.
        config
            A YAML file of options by these names; options given here win.
        """
        return _visualize(options)

    return visualize


def _visualize(options: VisualizeOptions) -> int:
    try:
        from dvis.kinds.features.plan import visualize
    except ModuleNotFoundError as err:
        if err.name not in ("torch", "torchvision"):
            raise
        raise ImportError(f"visualize needs {err.name}: pip install 'dvis[torch]'") from err

    report = visualize(options, progress=True)
    for note in report.notes[:_MAX_PRINTED]:
        print(f"  {note}")
    if len(report.notes) > _MAX_PRINTED:
        print(f"  ... and {len(report.notes) - _MAX_PRINTED} more: dvis info {report.store}")
    print(f"{report.store}: {counted(report.n_measured, 'unit')} made, {report.n_failed} failed")
    for n_units, how in zip(report.kept, _MADE_HOW, strict=True):
        if n_units:
            print(f"kept: {counted(n_units, 'unit')} {how}; --overwrite makes again")
    if options.output_path is not None:
        exported = export_tree(report.store, options.output_path, overwrite=True)
        print(f"{exported.folder}: {counted(exported.n_images, 'jpg file')}")
    return 1 if report.n_failed else 0


def _paths(given: Any) -> tuple[Path, ...]:
    return tuple(Path(str(path)) for path in _several(given))


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)

"""The commands `visualize`, `verify` and `compact`."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from dvis.kinds.features.images.compaction import compact_store
from dvis.kinds.features.option_file import options_from
from dvis.kinds.features.options import Preset, VisualizeOptions
from dvis.kinds.features.tree.export import export_tree
from dvis.models.torch_guard import needing_torch
from dvis.schema import counted

_MAX_PRINTED = 20


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
        defaults[name] = None if defaults[name] is None else _paths(defaults[name])
    for name in ("layers", "channels"):
        defaults[name] = _several(defaults[name])
    defaults["latents"] = tuple(map(str, _several(defaults["latents"])))
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
    with needing_torch("visualize"):
        from dvis.kinds.features.plan import visualize

    report = visualize(options, progress=True)
    for line in report.lines():
        print(line)
    if options.output_path is not None:
        exported = export_tree(report.store, options.output_path, overwrite=True)
        print(f"{exported.folder}: {counted(exported.n_images, 'jpg file')}")
    return 1 if report.n_failed else 0


def verify(
    store: Positional[Path],
    *,
    checkpoint_path: tuple[Path, ...],
    model: str | None = None,
    run: str | None = None,
    weights_key: str | None = None,
    tolerance: float = 0.01,
    device: str = "cpu",
) -> int:
    """Recompute stored activations from stored images. Exit 1 where they differ.

    Parameters
    ----------
    store
        A store's folder.
    checkpoint_path
        The run's checkpoints: files, or folders of them.
    model
        The model, where it is none of torchvision's, as visualize takes it.
    run
        The run (default: the store's).
    weights_key
        Which weights of a file are meant, where several fit the model.
    tolerance
        Share of the stored activation by which the recomputed one may differ.
    device
        Where to compute.
    """
    with needing_torch("verify"):
        from dvis.kinds.features.verify import verify_store

    report = verify_store(
        store,
        model,
        checkpoint_path=checkpoint_path,
        run=run,
        weights_key=weights_key,
        tolerance=tolerance,
        device=device,
        progress=True,
    )
    for fault in report.faults[:_MAX_PRINTED]:
        print(fault)
    if len(report.faults) > _MAX_PRINTED:
        print(f"... and {len(report.faults) - _MAX_PRINTED} more")
    unknown = f", {report.n_unknown} cannot be verified" if report.n_unknown else ""
    verified = counted(report.n_verified, "unit")
    print(f"{store}: {verified} verified, {counted(len(report.faults), 'fault')}{unknown}")
    for reason in report.reasons:
        print(f"  {reason}")
    is_sound = report.n_verified and not report.faults and not report.n_of_other_weights
    return 0 if is_sound else 1


def compact(store: Positional[Path]) -> int:
    """Bring a store whose sweeps are finished into the read layout.

    Parameters
    ----------
    store
        A store's folder.
    """
    n_groups = compact_store(store, progress=True)
    done = f"{counted(n_groups, 'group')} rewritten" if n_groups else "is compact already"
    print(f"{store}: {done}")
    return 0


def _paths(given: Any) -> tuple[Path, ...]:
    return tuple(Path(str(path)) for path in _several(given))


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)

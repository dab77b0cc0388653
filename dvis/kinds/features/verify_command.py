"""The command `verify`."""

from pathlib import Path

from tyro.conf import Positional

from dvis.schema import counted

_MAX_PRINTED = 20


def verify(
    store: Positional[Path],
    *,
    checkpoint_path: tuple[Path, ...],
    model: str | None = None,
    run: str | None = None,
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
        The model's name, where it is not the store's: package.module:function of a factory.
    run
        The run (default: the store's).
    tolerance
        Share of the stored activation by which the recomputed one may differ.
    device
        Where to compute.
    """
    try:
        from dvis.kinds.features.verify import verify_store
    except ModuleNotFoundError as err:
        if err.name not in ("torch", "torchvision"):
            raise
        raise ImportError(f"verify needs {err.name}: pip install 'dvis[torch]'") from err

    report = verify_store(
        store,
        model,
        checkpoint_path=checkpoint_path,
        run=run,
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

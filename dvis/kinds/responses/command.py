"""The command `respond`."""

from typing import Annotated

import tyro

from dvis.kinds.responses.options import RespondOptions
from dvis.schema import counted

_MAX_PRINTED = 20


def respond(options: Annotated[RespondOptions, tyro.conf.arg(name="")]) -> int:
    """Measure how units respond to fixed images at each checkpoint, into the model's store.

    Run again, it measures what is missing. Killed or stopped, it loses the task under way.

    Parameters
    ----------
    options
        Whose responses to measure, to which images, and where to.
    """
    try:
        from dvis.kinds.responses.plan import respond as measure
    except ModuleNotFoundError as err:
        if err.name not in ("torch", "torchvision"):
            raise
        raise ImportError(f"respond needs {err.name}: pip install 'dvis[torch]'") from err

    report = measure(options, progress=True)
    for note in report.notes[:_MAX_PRINTED]:
        print(f"  {note}")
    if len(report.notes) > _MAX_PRINTED:
        print(f"  ... and {len(report.notes) - _MAX_PRINTED} more")
    print(
        f"{report.store}, {report.name}: {counted(report.n_measured, 'unit')} measured, "
        f"{report.n_failed} failed"
    )
    if report.n_unknown:
        print(f"left out: {counted(report.n_unknown, 'jpg')}, whose levels' values are unknown")
    if report.n_of_other_weights:
        print(
            f"kept: {counted(report.n_of_other_weights, 'unit')} of other weights under the same "
            "label; --overwrite measures again"
        )
    return 1 if report.n_failed else 0

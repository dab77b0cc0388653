"""Pictures in: the jpg/json tree of existing runs becomes a store.

A folder in, `stores/{model}.zarr` out. Run again, an import reads what is new or changed, and goes
on where a killed one stopped. One process, which holds the run's lock, plans and commits; others
read (`dvis.kinds.features.tree.reading`).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from dvis.disk import explain_full_disk, inside, is_file_name, whole_store_lock
from dvis.kinds.features.run_notes import finish_import
from dvis.kinds.features.tree.problems import Problem
from dvis.kinds.features.tree.reading import reading_pool
from dvis.kinds.features.tree.run_import import ImportJob, ImportReport, RunImport
from dvis.kinds.features.tree.survey import RunSurvey, survey
from dvis.kinds.features.tree.tree_names import find_models
from dvis.kinds.features.words import KIND
from dvis.names import Steps, Told, check_batches, check_told, chosen, read_told
from dvis.progress import progress_bar
from dvis.store.writer import clear_removed, removed_path, writing


def ingest_tree(
    path: str | Path,
    *,
    store: str | Path | None = None,
    model: str | None = None,
    codec: str | None = None,
    workers: int | None = None,
    batches_per_epoch: int | None = None,
    steps: Steps | None = None,
    checkpoints: Sequence[str] = (),
    overwrite: bool = False,
    progress: bool = False,
) -> list[ImportReport]:
    """Import jpg/json trees into stores, one for each model.

    Parameters
    ----------
    path : str or Path
        The folder of a model (`feature_images/resnet50`), of several, or a part of one.
    store : str or Path, optional
        Where the store is to be; by default `stores/{model}.zarr` in the current folder. With
        several models, the folder for their stores.
    model : str, optional
        Name of the model, where the folder's is not it.
    codec : {"jpeg", "raw"}, optional
        Keep the jpgs' own bytes (the default), or decode them to pixels, which any Zarr reads but
        which takes four to six times the space. A store keeps the codec that it was made with.
    workers : int, optional
        Processes that read; by default one for each core, or this one alone for small trees.
    batches_per_epoch : int, optional
        Batches in an epoch of the training, for the `step` coordinate. By default it is
        estimated from the checkpoints' times where these tell it to half a per cent.
    steps : str, Path or mapping, optional
        Training steps of checkpoints, and epochs, as `dvis.set_steps` takes them; of all runs.
    checkpoints : sequence of str
        Only checkpoints with names like these patterns, such as `epoch_*`; by default all.
    overwrite : bool
        Start the store anew.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of ImportReport
        One for each model.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or nothing to import below it.
    ValueError
        When an argument is out of its range.
    SchemaError
        When the place of a store is taken by something else.
    StoreLockedError
        When a store that is to be overwritten is being written.
    DiskFullError
        When there is no space left; what was committed is safe, and a second run goes on.
    ChildProcessError
        When a reading process was killed; likewise.
    """
    _check_arguments(codec, workers=workers, batches_per_epoch=batches_per_epoch)
    trees = find_models(Path(path), model)
    told = {} if steps is None else read_told(steps)
    plans = [(tree, *survey(tree, checkpoints)) for tree in trees]
    _check_runs([run for _, runs, _ in plans for run in runs], checkpoints, told, batches_per_epoch)
    if not any(runs for _, runs, _ in plans):
        raise FileNotFoundError(_nothing_there(path, [p for *_, found in plans for p in found]))
    reports = []
    n_all = sum(run.n_units for _, runs, _ in plans for run in runs)
    with reading_pool(workers, n_all) as (pool, n_workers):
        for tree, runs, problems in plans:
            runs = [run for run in runs if run.folders]
            if not runs:
                continue
            target = _store_path(store, tree.model, several=len(trees) > 1)
            report = ImportReport(target, tree.model, problems=problems)
            n_units = sum(run.n_units for run in runs)
            with _failures_explained(target):
                if overwrite:
                    _remove_store(target)
                with progress_bar(n_units, "units", f"import {tree.model}", shown=progress) as bar:
                    job = ImportJob(
                        tree, codec, batches_per_epoch, told, report, pool, 3 * n_workers, bar
                    )
                    _import_runs(job, runs)
            reports.append(report)
    return reports


def _check_arguments(codec: str | None, **numbers: int | None) -> None:
    if codec not in (None, "jpeg", "raw"):
        raise ValueError(f"codec is {codec!r}; it can be 'jpeg' or 'raw'")
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")


def _check_runs(
    runs: Sequence[RunSurvey],
    patterns: Sequence[str],
    told: Mapping[str, Told],
    batches_per_epoch: int | None,
) -> None:
    """Raise where what is asked for does not fit the checkpoints that there are."""
    labels = list(dict.fromkeys(x for run in runs for x in (*run.folders, *run.left_out)))
    if not labels:
        return
    chosen(labels, patterns)
    check_told(told, labels, "the tree")
    if batches_per_epoch is not None:
        check_batches((name for run in runs for name in run.checkpoints), batches_per_epoch)


@contextmanager
def _failures_explained(store: Path) -> Iterator[None]:
    """Say of a full disk and of a killed reading process what they mean for the store."""
    try:
        yield
    except OSError as err:
        raise explain_full_disk(err, store) from err
    except BrokenProcessPool as err:
        raise ChildProcessError(
            f"{store}: a reading process was killed, as the system does when memory runs out. What "
            "was committed is safe: run again, with fewer --workers if need be"
        ) from err


def _import_runs(job: ImportJob, runs: Sequence[RunSurvey]) -> None:
    """Import runs, one after the other, each under its lock."""
    for run in runs:
        with writing(job.store, job.tree.model, run.run, KIND):
            RunImport(job, run).run()
    below = str(job.tree.start.relative_to(job.tree.root.parent))
    finish_import(job.store, [str(problem) for problem in job.report.problems], below)


def _store_path(store: str | Path | None, model: str, *, several: bool) -> Path:
    is_called_after_it = store is None or several
    if not is_file_name(f"{model}.zarr" if is_called_after_it else model):
        raise ValueError(
            f"{model!r} is no name of a model: a store's file is called after it. Give another "
            "--model"
        )
    if store is None:
        return Path("stores") / f"{model}.zarr"
    return Path(store).expanduser() / f"{model}.zarr" if several else Path(store).expanduser()


def _remove_store(path: Path) -> None:
    """Remove a store that nobody writes; what is none is left, for `create_store` to refuse."""
    if not (path / "zarr.json").exists():
        return
    inside(path.parent, path.name)  # raises for a link, of which only the name would go
    with whole_store_lock(path):
        path.rename(removed_path(path))
        clear_removed(path)


def _nothing_there(path: str | Path, problems: Sequence[Problem]) -> str:
    text = (
        f"Nothing to import below {path}: no folder there holds files like "
        "layer_layer2_channel_0_average.jpg"
    )
    return text + "".join(f"\n  {problem}" for problem in problems[:10])

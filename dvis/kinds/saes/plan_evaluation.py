"""What is found of trained autoencoders, into the store that keeps them.

Options in; the group `{run}/saes/{layer}/{name}.evaluation` grows, a checkpoint at a time.
"""

from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL
from dvis.analysis.ranking import RANK
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.words import TOKEN
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE, SHUFFLE
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.evaluation import evaluate
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.plan import chosen_checkpoints, known_steps
from dvis.kinds.saes.plan_controls import Controls
from dvis.kinds.saes.plan_model import Downstream, Effects, MonoScores, Network
from dvis.kinds.saes.plan_probes import Probes
from dvis.kinds.saes.read import name_in_layer, saes
from dvis.kinds.saes.store_options import EvaluateOptions
from dvis.kinds.saes.words import KIND, evaluation_name, evaluation_words
from dvis.models.devices import find_device
from dvis.names import parse_checkpoint
from dvis.progress import progress_bar
from dvis.schema import CHECKPOINT, SOURCE, Status
from dvis.store.contents import contents
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing
from dvis.sweep.runner import Report


def evaluate_saes(options: EvaluateOptions, *, progress: bool = False) -> Report:
    """Evaluate the autoencoders of a name that a store has not evaluated yet.

    Parameters
    ----------
    options : EvaluateOptions
        Which, and on which samples.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many were evaluated, or had something added; notes say of which checkpoints the model
        is another one.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or it has no autoencoders.
    KeyError
        When it has no such run, layer, name or checkpoint.
    ValueError
        When activations are missing, they were evaluated otherwise, or the model's pictures are
        not those that the activations are of.
    DiskFullError
        When there is no space left; what was found before is safe, and a second run goes on.
    """
    find_device(options.device)
    store = options.store.expanduser()
    trained = saes(store, options.layer, options.name, options.run)
    asked = _asked_for(store, trained, options)
    there = trained.isel({CHECKPOINT: trained["status"].values == Status.COMPLETE})
    labels = chosen_checkpoints(there, options.checkpoints)
    run, model = str(trained.attrs["run"]), str(contents(store).attrs.get("model", ""))
    name = name_in_layer(trained)
    report = Report(store=store, run=run, name=str(trained.attrs["name"]), unit="autoencoder")
    report.notes += [f"no {part.what}: {part.why_not}" for part in asked if part.why_not]
    with writing(store, model, run, KIND) as path:
        group: Group | None = None
        with progress_bar(len(labels), "autoencoders", "evaluate", shown=progress) as bar:
            for label in labels:
                one = autoencoder_at(trained, label)
                rows = _rows(path, trained, label, options)
                group = group or _opened(path, trained, name, one, rows, labels, options, asked)
                weights = weights_told(one)
                is_new = not _is_there(group, label, weights)
                if is_new:
                    _forget(group, label)
                    group.commit(_found(one, rows, label, weights, options))
                added = [
                    _added(part, group, one, rows, label, report.notes)
                    for part in asked
                    if not part.why_not and (options.overwrite or not _is_added(part, group, label))
                ]
                report.n_measured += is_new or any(added)
                bar.update()
    return report


class Asked(Protocol):
    """A part of an evaluation that is there once it is asked for; its last array marks it.

    `why_not` tells why it can be found at no checkpoint, "" where it can.
    """

    what: str
    why_not: str
    arrays: tuple[str, ...]
    labels: tuple[str, ...]
    attrs: dict[str, Any]

    def found(
        self, group: Group, one: Autoencoder, rows: ActivationRows, label: str
    ) -> dict[str, np.ndarray]:
        """Arrays of a checkpoint."""


def _asked_for(store: Path, trained: xr.Dataset, options: EvaluateOptions) -> list[Asked]:
    """What is asked for beside the evaluation itself; raises where it cannot be."""
    asked: list[Asked] = [Probes(store, trained, options)] if options.probes else []
    if options.controls:
        asked.append(Controls(store, trained, options.split, options.untrained, options.device))
    network = None if options.model is None else Network(store, trained, options)
    if network is not None:
        asked.append(Downstream(network, options))
        asked += [] if options.n_effects == 0 else [Effects(network, options)]
    if network is not None or options.embeddings is not None:
        asked.append(MonoScores(store, trained, network, options))
    return asked


def _note(group: Group, asked: list[Asked], *, overwrite: bool) -> None:
    """Keep what must be the same at all checkpoints; what is there of another is taken back.

    Raises
    ------
    ValueError
        When there is another, which is not to be overwritten.
    """
    for part in asked:
        array, fill = group.array(part.arrays[-1]), group.words.arrays[part.arrays[-1]].fill
        differing = [key for key, told in part.attrs.items() if group.attrs.get(key) != told]
        if not differing or not _has_values(np.asarray(array[:]), fill):
            continue
        if not overwrite:
            key = differing[0]
            raise ValueError(
                f"{part.what} are there by another {key} ({group.attrs.get(key, 'none told')} "
                f"there, {part.attrs[key]} asked for). Give --overwrite to replace them"
            )
        array[:] = fill
    group.note(**{key: value for part in asked for key, value in part.attrs.items()})


def _forget(group: Group, label: str) -> None:
    """Take back what was asked for of an autoencoder that is another one now."""
    row = group.rows[CHECKPOINT][label]
    for name, each in reversed([*group.words.arrays.items()]):
        if each.is_optional and CHECKPOINT in each.dims:
            group.array(name)[row] = each.fill


def _is_added(part: Asked, group: Group, label: str) -> bool:
    name = part.arrays[-1]
    values = np.asarray(group.array(name)[group.rows[CHECKPOINT][label]])
    return _has_values(values, group.words.arrays[name].fill)


def _has_values(values: np.ndarray, fill: float) -> bool:
    """Whether some of an array's values were written."""
    return bool((~np.isnan(values) if np.isnan(fill) else values != fill).any())


def _added(
    part: Asked,
    group: Group,
    one: Autoencoder,
    rows: ActivationRows,
    label: str,
    notes: list[str],
) -> bool:
    """Whether a part could be found, which then is in the group."""
    try:
        found = part.found(group, one, rows, label)
    except (ValueError, RuntimeError) as err:
        notes.append(f"{label}, no {part.what}: {err}")
        return False
    row, mark = group.rows[CHECKPOINT][label], part.arrays[-1]
    group.array(mark)[row] = group.words.arrays[mark].fill
    for name in part.arrays:
        if name in found:
            group.array(name)[row] = found[name]
    return True


def _rows(store: Path, trained: xr.Dataset, label: str, options: EvaluateOptions) -> ActivationRows:
    name = trained.attrs.get("activations")
    return ActivationRows.open(
        store,
        options.layer,
        label,
        name=None if name is None else str(name),
        run=str(trained.attrs["run"]),
        split=options.split,
        batch_size=1,  # samples come in their own order, not in batches
    )


def _opened(
    store: Path,
    trained: xr.Dataset,
    name: str,
    one: Autoencoder,
    rows: ActivationRows,
    labels: list[str],
    options: EvaluateOptions,
    asked: list[Asked],
) -> Group:
    """The group of the evaluation, with room for all that it will have."""
    n_top = min(options.n_top, rows.n_samples)
    settings: dict[str, Any] = {
        "layer": options.layer,
        "evaluated": name,
        "split": options.split,
        "n_top": n_top,
        "n_shuffles": options.n_shuffles,
        "scores": list(options.scores),
        "class_token": options.class_token,
        "n_samples": rows.n_samples,
        "n_tokens": rows.n_tokens,
    }
    dims = {
        LATENT: range(one.n_latents),
        SCORE: options.scores,
        RANK: range(n_top),
        TOKEN: range(rows.n_tokens),
        CLASS: rows.classes,
        SHUFFLE: range(options.n_shuffles),
    }
    steps = known_steps(trained)
    words = evaluation_words(n_latents=one.n_latents, n_classes=len(rows.classes), n_top=n_top)
    called = evaluation_name(options.layer, name)
    with restructuring(store):
        group = Group.open(
            store, words, trained.attrs["run"], called, settings, overwrite=options.overwrite
        )
        group.add_arrays(list(dict.fromkeys(name for part in asked for name in part.arrays)))
        _note(group, asked, overwrite=options.overwrite)
        controls = list(dict.fromkeys(label for part in asked for label in part.labels))
        dims |= {CONTROL: controls} if controls else {}
        group.grow([parse_checkpoint(label) for label in labels], dims)
        group.write_column("step", steps)
    return group


def weights_told(one: Autoencoder) -> int:
    """What tells an autoencoder's weights from others."""
    return crc32(one.decoder.tobytes(), crc32(one.encoder.tobytes())) or 1


def _is_there(group: Group, label: str, weights: int) -> bool:
    row = group.rows[CHECKPOINT][label]
    is_complete = int(group.array("status")[row]) == Status.COMPLETE
    return is_complete and int(group.array(f"{SOURCE}/weights")[row]) == weights


def _found(
    one: Autoencoder, rows: ActivationRows, label: str, weights: int, options: EvaluateOptions
) -> xr.Dataset:
    """The evaluation of a checkpoint as the group takes it."""
    found = evaluate(
        one,
        rows,
        n_top=options.n_top,
        scores=options.scores,
        class_token=options.class_token,
        n_shuffles=options.n_shuffles,
    )
    of_parts = found.drop_vars("top_position").expand_dims({CHECKPOINT: [label]})
    return of_parts.assign(
        {f"{SOURCE}/weights": (CHECKPOINT, np.array([weights], np.uint64))}
    ).transpose(CHECKPOINT, ...)

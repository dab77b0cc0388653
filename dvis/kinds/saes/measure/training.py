"""Many sparse autoencoders over one pass of the data, which goes on after a kill."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.learner import LOG_NAMES, Learner
from dvis.kinds.saes.measure.parameters import input_scale
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.measure.slots import load_newest, save_slot
from dvis.kinds.saes.options import PassOptions, SaeOptions
from dvis.progress import progress_bar

_FIRST_ROWS = 65_536  # from which the scale and the start are taken


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An autoencoder and the log of its training.

    Parameters
    ----------
    autoencoder : Autoencoder
        In the units of the rows.
    options : SaeOptions
        What it was trained as.
    log : dict of str to array, (log_step,)
        Means over the steps since the point before: fvu, l0, n_dead, learning_rate, grad_norm.
    log_step : array of int, (log_step,)
        Steps that were taken at each point.
    scale : float
        By which rows were multiplied in training; folded into the weights.
    """

    autoencoder: Autoencoder
    options: SaeOptions
    log: dict[str, NDArray[np.float64]]
    log_step: NDArray[np.int64]
    scale: float


def train(
    rows: Rows,
    autoencoders: Sequence[SaeOptions],
    options: PassOptions,
    *,
    state: Path | None = None,
    warm: Sequence[Autoencoder | None] | None = None,
) -> list[Trained]:
    """Autoencoders trained over one pass of the data.

    With a folder for its state, a training that was killed goes on where it was last saved, and on
    one CPU thread ends in the same bits as an unbroken one.

    Parameters
    ----------
    rows : Rows
        Activations.
    autoencoders : sequence of SaeOptions
        One for each autoencoder.
    options : PassOptions
        Length of the pass, and how often it is logged and saved.
    state : Path, optional
        Folder of the training state.
    warm : sequence of Autoencoder or None, optional
        Whose weights each starts from, such as those of the checkpoint before; None for none.

    Returns
    -------
    list of Trained
        In the order given.

    Raises
    ------
    ValueError
        When there is no autoencoder, `warm` does not fit, a batch is not finite, or the state is of
        another training.
    """
    _check(rows, autoencoders, warm)
    pass_over = _Pass(rows, autoencoders, options, warm)
    facts = _facts(rows, autoencoders, options, warm)
    found = load_newest(state, facts) if state else None
    if found:
        pass_over.load(*found)
    with progress_bar(options.n_steps, "steps", "train", shown=options.progress) as bar:
        bar.update(pass_over.step)
        while pass_over.step < options.n_steps:
            pass_over.take_step()
            bar.update()
            is_due = pass_over.step % options.save_every == 0 or pass_over.step == options.n_steps
            if state and is_due:
                save_slot(state, pass_over.step, pass_over.state(), facts)
    return [_trained(learner, options) for learner in pass_over.learners]


class _Pass:
    """Learners, the rows that they share, and the running mean of what they have seen."""

    def __init__(
        self,
        rows: Rows,
        autoencoders: Sequence[SaeOptions],
        options: PassOptions,
        warm: Sequence[Autoencoder | None] | None,
    ) -> None:
        self._rows, self._options = rows, options
        self._device = torch.device(options.device)
        sample = _first_rows(rows)
        mean = torch.from_numpy(rows.mean).float()
        self.scale = input_scale(sample, mean)
        batch_size = len(_checked_batch(rows, 0))
        self.learners = [
            Learner.start(
                wanted,
                sample,
                mean,
                self.scale,
                n_steps=options.n_steps,
                batch_size=batch_size,
                warm=warm[n] if warm else None,
                device=self._device,
            )
            for n, wanted in enumerate(autoencoders)
        ]
        self.step = 0
        self._sum = torch.zeros(rows.n_channels, dtype=torch.double)
        self._n_seen = 0

    def take_step(self) -> None:
        batch = _checked_batch(self._rows, self.step) * self.scale
        # Summed on the CPU: some accelerators have no double.
        self._sum += batch.sum(0, dtype=torch.double)
        self._n_seen += len(batch)
        mean = (self._sum / self._n_seen).float().to(self._device)
        batch = batch.to(self._device)
        for learner in self.learners:
            learner.learn(batch, mean, self._options.log_every)
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        state = {"sum": self._sum, "n_seen": torch.tensor([self._n_seen])}
        for n, learner in enumerate(self.learners):
            state |= {f"{n}.{name}": value for name, value in learner.state().items()}
        return state

    def load(self, step: int, state: dict[str, Tensor]) -> None:
        self.step, self._sum = step, state["sum"]
        self._n_seen = int(state["n_seen"])
        for n, learner in enumerate(self.learners):
            start = f"{n}."
            own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            learner.load(own)


def _first_rows(rows: Rows) -> Tensor:
    batches = [_checked_batch(rows, 0)]
    n_batches = -(-min(_FIRST_ROWS, rows.n_rows) // len(batches[0]))
    batches += [_checked_batch(rows, step) for step in range(1, n_batches)]
    return torch.cat(batches)


def _checked_batch(rows: Rows, step: int) -> Tensor:
    batch = torch.from_numpy(rows.batch(step))
    if not bool(torch.isfinite(batch).all()):
        n_bad = int((~torch.isfinite(batch).all(1)).sum())
        raise ValueError(
            f"the batch of step {step} has {n_bad} of {len(batch)} rows that are not finite; "
            "collect those activations again, or leave those samples out"
        )
    return batch


def _check(
    rows: Rows, autoencoders: Sequence[SaeOptions], warm: Sequence[Autoencoder | None] | None
) -> None:
    if not autoencoders:
        raise ValueError("no autoencoder is to be trained; give options of one or more")
    shapes = [(options.width(rows.n_channels), rows.n_channels) for options in autoencoders]
    if warm is None:
        return
    of_warm = [one and one.encoder.shape for one in warm]
    is_alike = [one in (None, shape) for one, shape in zip(of_warm, shapes, strict=False)]
    if len(of_warm) != len(shapes) or not all(is_alike):
        raise ValueError(
            f"the autoencoders to start from have shapes {of_warm}, "
            f"but {shapes} are to be trained; give one of the same shape for each"
        )


def _facts(
    rows: Rows,
    autoencoders: Sequence[SaeOptions],
    options: PassOptions,
    warm: Sequence[Autoencoder | None] | None,
) -> str:
    """Text that two trainings share only when the steps of one are those of the other."""
    digest = hashlib.sha256()
    for one in warm or ():
        if one is None:
            digest.update(b"afresh")
            continue
        for array in (one.encoder, one.decoder, one.encoder_bias, one.decoder_bias, one.threshold):
            digest.update(array.tobytes())
    return json.dumps(
        {
            "rows": rows.fingerprint,
            "autoencoders": [asdict(one) for one in autoencoders],
            "n_steps": options.n_steps,
            "log_every": options.log_every,
            "warm": digest.hexdigest() if warm else None,
        }
    )


def _trained(learner: Learner, options: PassOptions) -> Trained:
    log = np.asarray(learner.log)
    steps = np.arange(1, len(log) + 1) * options.log_every
    return Trained(
        autoencoder=learner.autoencoder(),
        options=learner.options,
        log={name: log[:, n] for n, name in enumerate(LOG_NAMES)},
        log_step=np.minimum(steps, options.n_steps),
        scale=learner.scale,
    )

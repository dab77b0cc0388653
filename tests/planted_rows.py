"""Rows made of known directions, which an autoencoder is to find."""

import numpy as np
from numpy.typing import NDArray

N_CHANNELS, N_ATOMS, N_ACTIVE = 64, 96, 3


def planted(
    n_rows: int,
    *,
    n_channels: int = N_CHANNELS,
    n_atoms: int = N_ATOMS,
    k: int = N_ACTIVE,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Unit atoms (atom, channel), and rows (row, channel) that each have exactly k of them."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(n_atoms, n_channels))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((n_rows, n_atoms))
    active = rng.random((n_rows, n_atoms)).argsort(1)[:, :k]
    np.put_along_axis(codes, active, rng.uniform(0.75, 1.25, (n_rows, k)), 1)
    noise = 0.01 * rng.normal(size=(n_rows, n_channels))
    return atoms, (codes @ atoms + noise).astype(np.float32)


def best_cosines(decoder: NDArray[np.float32], atoms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest cosine of any decoder row with each atom, (atom,)."""
    rows = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    best: NDArray[np.float64] = (rows @ atoms.T).max(0)
    return best


def explained(x: NDArray[np.float32], x_hat: NDArray[np.float32]) -> float:
    """Share of the variance of rows about their mean that is explained."""
    left = np.square(x - x_hat, dtype=np.float64).sum()
    return float(1 - left / np.square(x - x.mean(0), dtype=np.float64).sum())

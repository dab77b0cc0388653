"""Made-up jpg/json trees in the format of real ones, for benches and tests of size."""

import io
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

# As many as an image block has units, at 4 layers of 64 channels.
_MAX_INFOS = 4096


def pink_image(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise with a 1/f spectrum and correlated colours, as feature images have, (y, x, rgb)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    frequency[0, 0] = 1 / size
    planes = [
        np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / frequency).real for _ in range(3)
    ]
    mixed = np.tensordot(
        np.stack(planes, -1), np.array([[1, 1, 1], [0.7, 0, -0.7], [0.3, -0.6, 0.3]]), 1
    )
    low, high = mixed.min(), mixed.max()
    return ((mixed - low) / (high - low) * 255).astype(np.uint8)


def encode_jpg(pixels: np.ndarray, quality: int = 75) -> bytes:
    """Jpg of (y, x, rgb) uint8 pixels, at Pillow's own default quality."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def info_json(layer: str, channel: int, rng: np.random.Generator, n_losses: int, size: int) -> str:
    """An info.json as the old command wrote it."""
    loss = rng.normal(size=n_losses).astype(np.float32).cumsum(dtype=np.float32)
    return json.dumps(
        {
            "Layer": layer,
            "Channel": channel,
            "Neuron": None,
            "Aggregation": "average",
            "Activation": float(np.float32(rng.normal())),
            "Convergence Iteration": n_losses,
            "Parameters": {
                "max_iterations": n_losses,
                "min_iterations": 2,
                "convergence_threshold": 0.0001,
                "convergence_window": 2,
                "lr_schedule": None,
                "learning_rate": 0.1,
                "lr_decay_rate": None,
                "lr_min": None,
                "lr_warmup_steps": 0,
                "reg_lambda": 0.01,
                "use_jitter": False,
                "jitter_scale": None,
                "use_scaling": False,
                "scale_range": None,
                "use_gauss": False,
                "gauss_kernel_size": None,
                "use_tv_reg": False,
                "tv_weight": None,
                "use_decorrelation": False,
                "decorrelation_weight": None,
                "feature_image_size": size,
                "progress_bar": True,
                "seed": 0,
            },
            "Loss Values": loss.tolist(),
        },
        indent=2,
    )


def checkpoint_label(i: int, batches_per_epoch: int = 1000) -> str:
    """Name of the i-th checkpoint of a training that saves every 200 batches, 7 minutes apart."""
    step = 200 * i
    minutes = 28 + 7 * i
    day, rest = divmod(minutes, 24 * 60)
    epoch, batch = divmod(step, batches_per_epoch)
    stamp = f"2024-03-{25 + day:02d}-{rest // 60:02d}h{rest % 60:02d}"
    return f"checkpoint_{stamp}_epoch_{epoch}_train_{batch}.pth.tar"


def make_tree(
    root: Path,
    *,
    n_checkpoints: int,
    layers: list[str],
    n_channels: int,
    size: int,
    n_losses: int,
    n_distinct: int = 256,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Write a tree below `root`/feature_images/resnet18; return the model's folder.

    Pictures are drawn from `n_distinct` ones. Infos come from more, so that the loss curves of
    an image block do not repeat: a store would compress them better than real ones.
    """
    rng = np.random.default_rng(seed)
    jpgs = [encode_jpg(pink_image(rng, size)) for _ in range(n_distinct)]
    n_infos = min(_MAX_INFOS, n_checkpoints * len(layers) * n_channels)
    infos = [info_json("LAYER", 0, rng, n_losses, size) for _ in range(n_infos)]
    model = root / "feature_images" / "resnet18"
    write = partial(_write_checkpoint, model, layers, n_channels, jpgs, infos)
    if workers == 1:
        for i in range(n_checkpoints):
            write(i)
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(write, range(n_checkpoints)))
    return model


def _write_checkpoint(
    model: Path, layers: list[str], n_channels: int, jpgs: list[bytes], infos: list[str], i: int
) -> None:
    """Write the files of the i-th checkpoint."""
    folder = model / "checkpoints" / checkpoint_label(i)
    folder.mkdir(parents=True)
    for j, layer in enumerate(layers):
        for channel in range(n_channels):
            stem = f"{folder}/layer_{layer}_channel_{channel}_average"
            jpg = jpgs[(i * 7919 + j * 104729 + channel * 31) % len(jpgs)]
            info = infos[((i * len(layers) + j) * n_channels + channel) % len(infos)]
            info = info.replace('"LAYER"', f'"{layer}"', 1)
            info = info.replace('"Channel": 0', f'"Channel": {channel}', 1)
            with open(stem + ".jpg", "wb") as file:
                file.write(jpg)
            with open(stem + ".info.json", "w") as file:
                file.write(info)

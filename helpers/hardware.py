"""Which GPUs there are and what they allow: half precision, as large a batch as fits, several at once.

Without a GPU nothing changes.

XLA needs no call: by default ``compile`` uses it on one GPU where every layer allows it.
Introduced in lesson 05.
"""

import os
import subprocess

import keras
import tensorflow as tf

from helpers import models

_SPARED = 0.2  # of the memory: for the weights' gradients, the input pipeline, and the libraries' own buffers


def use_mixed_precision(gpus: list | None = None) -> str:
    """Let layers made from now on compute in float16 where every GPU has tensor cores for it, else in float32.

    Their weights stay float32. A model's last layer should stay float32 too: give it ``dtype="float32"``.

    Args:
        gpus: Physical devices; by default all GPUs that TensorFlow sees.

    Returns:
        The policy's name, ``"mixed_float16"`` or ``"float32"``.
    """
    found = tf.config.list_physical_devices("GPU") if gpus is None else gpus
    able = [_compute_capability(gpu) >= (7, 0) for gpu in found]  # tensor cores came with 7.0; a T4 has 7.5
    keras.config.set_dtype_policy("mixed_float16" if able and all(able) else "float32")
    return keras.config.dtype_policy().name


def _compute_capability(gpu) -> tuple[int, int]:
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


def on_devices(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """Return how to spread a model: make and compile it below ``with strategy.scope():``.

    Each device gets a part of each batch, and their gradients are added: the training is that of one device, as long as
    BatchNorm is frozen and the batches can be divided evenly.

    Args:
        devices: Names such as ``["GPU:0", "GPU:1"]``; by default all GPUs.

    Returns:
        A ``MirroredStrategy`` for several devices; for one or none TensorFlow's default, which changes nothing.
    """
    if devices is None:
        devices = [f"GPU:{i}" for i in range(len(tf.config.list_logical_devices("GPU")))]
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()


def batch_size_that_fits(model: keras.Model, wanted: int, free_bytes: int | None = None) -> int:
    """Halve a batch size until training a model with it fits the first GPU's memory.

    Without a GPU, or where its memory is not known, the batch size stays. Counted are the outputs of all layers, which
    are kept for the gradients, twice (the gradients take as much), and the trained weights with their gradients and two
    numbers of optimizer state each.

    Args:
        model: Any model whose layers know their output shapes.
        wanted: The batch size to begin with.
        free_bytes: Memory that is free; by default what this process has not used of the first GPU.

    Raises:
        ValueError: if not even one image fits.
    """
    free_bytes = _free_bytes() if free_bytes is None else free_bytes
    if free_bytes is None:
        return wanted
    room = (1 - _SPARED) * free_bytes
    room -= 4 * 4 * models.count_parameters(model).trainable  # float32
    per_image = 2 * bytes_of_outputs(model)
    batch_size = wanted
    while batch_size > 1 and batch_size * per_image > room:
        batch_size //= 2
    if batch_size * per_image > room:
        raise ValueError(
            f"One image takes {per_image / 1e6:.0f} MB and {max(room, 0) / 1e6:.0f} MB are free: "
            "take smaller images, or train fewer layers."
        )
    return batch_size


def bytes_of_outputs(model: keras.Model) -> int:
    """Bytes that the outputs of all layers of a model take for one image, nested models included."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += bytes_of_outputs(layer)
        else:
            for tensor in keras.tree.flatten(layer.output):
                total += tf.TensorShape(tensor.shape[1:]).num_elements() * tf.as_dtype(tensor.dtype).size
    return total


def gpus() -> str:
    """Names of the GPUs that TensorFlow sees, with the first one's memory; ``no GPU`` without one."""
    found = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", str(gpu)) for gpu in found]
    if not names or (total := _total_bytes()) is None:
        return " + ".join(names) or "no GPU"
    return " + ".join(names) + (", the first" if len(names) > 1 else "") + f" with {total / 2**30:.0f} GB"


def _total_bytes() -> int | None:
    """Memory of the first GPU, or None if it is not known."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", f"--id={first}"]
    try:
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def _free_bytes() -> int | None:
    """Memory of the first GPU that this process has not used (TensorFlow holds it all), or None if it is not known."""
    total = _total_bytes() if tf.config.list_physical_devices("GPU") else None
    return None if total is None else total - tf.config.experimental.get_memory_info("GPU:0")["current"]

import json

import keras
import numpy as np
import pytest

from helpers import hardware

pytestmark = pytest.mark.usefixtures("set_precision")  # float32 after each test


@pytest.fixture
def capabilities(monkeypatch):
    """Pretend that devices have the given compute capabilities."""
    monkeypatch.setattr(hardware, "_compute_capability", lambda gpu: gpu)


@pytest.mark.parametrize(
    ("gpus", "policy"),
    [
        ([(7, 5)], "mixed_float16"), ([(7, 0), (9, 0)], "mixed_float16"), ([(6, 1)], "float32"),
        ([(7, 5), (6, 0)], "float32"), ([(0, 0)], "float32"), ([], "float32"),
    ],
)  # fmt: skip
def test_half_precision_is_used_where_every_gpu_gains_by_it(capabilities, gpus, policy):
    assert hardware.use_mixed_precision(gpus) == policy
    assert keras.layers.Dense(1).compute_dtype == policy.replace("mixed_", "")
    assert keras.layers.Dense(1).variable_dtype == "float32"


def test_without_a_gpu_precision_goes_back_to_float32(set_precision):
    set_precision("mixed_float16")
    assert hardware.use_mixed_precision() == "float32"


def model(size: int = 8) -> keras.Model:
    inner = keras.Sequential([keras.Input((size, size, 3)), keras.layers.Conv2D(4, 3, padding="same")])
    return keras.Sequential([keras.Input((size, size, 3)), inner, keras.layers.Flatten(), keras.layers.Dense(5)])


def test_bytes_of_outputs_are_those_of_every_layer():
    assert hardware.bytes_of_outputs(model()) == 4 * (8 * 8 * 4 + 8 * 8 * 4 + 5)  # convolution, flatten, dense


def test_half_precision_halves_the_bytes_of_outputs(set_precision):
    whole = hardware.bytes_of_outputs(model())
    set_precision("mixed_float16")
    assert hardware.bytes_of_outputs(model()) == whole // 2


@pytest.mark.parametrize(("images", "expected"), [(1000, 64), (64, 64), (63, 32), (20, 16), (1, 1)])
def test_batch_size_is_halved_until_it_fits(images, expected):
    network = model()
    weights = 4 * 4 * network.count_params()  # weight, gradient, two moments of Adam, each four bytes
    free = (images * 2 * hardware.bytes_of_outputs(network) + weights) / (1 - hardware._SPARED)
    assert hardware.batch_size_that_fits(network, 64, free_bytes=int(free) + 1) == expected


def test_image_that_does_not_fit_alone_is_refused():
    with pytest.raises(ValueError, match=r"One image takes .* smaller images"):
        hardware.batch_size_that_fits(model(), 64, free_bytes=1000)


def test_without_a_gpu_the_batch_size_stays():
    assert hardware.batch_size_that_fits(model(), 10**9) == 10**9


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU of which 1 MiB is in use; returns a function that sets what nvidia-smi answers."""
    monkeypatch.setattr(hardware.tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(hardware.tf.config.experimental, "get_memory_info", lambda device: {"current": 2**20})
    asked = []

    def answers(text=None):
        def run(command, **options):
            asked.append(command)
            if text is None:
                raise FileNotFoundError
            return type("Ended", (), {"stdout": text})

        monkeypatch.setattr(hardware.subprocess, "run", run)
        return asked

    return answers


def test_free_memory_of_a_gpu_is_what_this_process_has_not_used(gpu, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    asked = gpu("15360\n")
    assert hardware._free_bytes() == (15360 - 1) * 2**20
    assert "--id=2" in asked[0]
    per_image = 2 * hardware.bytes_of_outputs(model())
    assert hardware.batch_size_that_fits(model(), 2**40) * per_image <= 0.8 * 15359 * 2**20


@pytest.mark.parametrize(
    ("names", "memory", "shown"),
    [
        (["Tesla T4"], "15360\n", "Tesla T4 with 15 GB"),
        (["Tesla T4", "Tesla T4"], "15360\n", "Tesla T4 + Tesla T4, the first with 15 GB"),
        (["Tesla T4"], None, "Tesla T4"),
    ],
)
def test_gpus_are_named_with_their_memory_where_it_is_known(gpu, monkeypatch, names, memory, shown):
    gpu(memory)
    monkeypatch.setattr(hardware.tf.config, "list_physical_devices", lambda kind: list(names))
    monkeypatch.setattr(hardware.tf.config.experimental, "get_device_details", lambda device: {"device_name": device})
    assert hardware.gpus() == shown


@pytest.mark.parametrize("answer", [None, "[N/A]\n", ""])
def test_batch_size_stays_where_the_memory_of_the_gpu_is_not_known(gpu, answer):
    gpu(answer)
    assert hardware.batch_size_that_fits(model(), 10**9) == 10**9


def test_one_device_needs_no_strategy():
    assert type(hardware.on_devices()).__name__ == type(hardware.on_devices(["CPU:0"])).__name__ != "MirroredStrategy"


TRAIN = """
import json, sys
import keras, numpy as np, tensorflow as tf
from helpers import hardware
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
devices = json.loads(sys.argv[1])
keras.utils.set_random_seed(0)
with hardware.on_devices(devices).scope():
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
rng = np.random.default_rng(0)
images, labels = rng.normal(size=(24, 8, 8, 3)).astype("float32"), rng.integers(0, 2, 24)
before = [w.copy() for w in model.get_weights()]
history = model.fit(tf.data.Dataset.from_tensor_slices((images, labels)).batch(8), epochs=3, verbose=0).history
print(json.dumps({
    "loss": history["loss"], "weights": [w.tolist() for w in model.get_weights()],
    "moved": float(max(np.abs(a - b).max() for a, b in zip(before, model.get_weights()))),
    "replicas": hardware.on_devices(devices).num_replicas_in_sync,
}))
"""


def test_two_devices_train_as_one_does(run_python):
    one, two = (json.loads(run_python(TRAIN, json.dumps(d)).splitlines()[-1]) for d in (["CPU:0"], ["CPU:0", "CPU:1"]))
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert one["moved"] > 0.01
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4)  # float32, added in another order
    for a, b in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)

"""What the full run loads from the network, by the code that really does it, from a server on this machine.

The files are stand-ins: networks of the right layers with random weights.
"""

import hashlib
import io
import tarfile
from urllib.parse import urlsplit

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format  # the format that Keras publishes its weights in
from keras.src.utils import file_utils

from helpers import hub, lessons, models

SIZE = 32
BACKBONES = sorted({lessons.settings(name, "full").backbone for name in lessons.LESSONS})


@pytest.fixture
def keras_site(site, monkeypatch, tmp_path):
    """Lead Keras's downloads to the site, with the hashes of what is there, and its cache to a folder of the test."""
    real = file_utils.get_file

    def get_file(name, origin, **options):
        path = urlsplit(origin).path.lstrip("/")
        if "file_hash" in options:  # Keras knows none for MobileNetV2
            options["file_hash"] = site.hashes.get(path, options["file_hash"])
        return real(name, site.url(path), cache_dir=tmp_path / "keras", **options)

    (tmp_path / "keras").mkdir()  # Keras takes another folder for one that is not there
    site.hashes = {}
    monkeypatch.setattr(file_utils, "get_file", get_file)
    return site


@pytest.fixture
def offer_weights(keras_site, monkeypatch, tmp_path):
    """A function that offers weights for a backbone at the address where Keras asks for them, and returns them."""

    def offer(name):
        build = getattr(keras.applications, name)
        with monkeypatch.context() as only_asking:
            asked = []
            only_asking.setattr(
                file_utils, "get_file", lambda *a, **k: asked.append(a[1]) or (_ for _ in ()).throw(OSError)
            )
            with pytest.raises(OSError):  # noqa: PT011
                build(include_top=False, input_shape=(SIZE, SIZE, 3))
        network = build(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
        with h5py.File(tmp_path / "weights.h5", "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, network)
        path = urlsplit(asked[0]).path.lstrip("/")
        keras_site.contents[path] = (tmp_path / "weights.h5").read_bytes()
        keras_site.hashes[path] = hashlib.md5(keras_site.contents[path]).hexdigest()
        return network.get_weights()

    return offer


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_are_downloaded_once_and_become_the_backbones(name, offer_weights, keras_site):
    offered = offer_weights(name)
    for _ in range(2):
        loaded = models.backbone(name, SIZE).get_weights()
        assert len(loaded) == len(offered) > 0
        assert all(np.array_equal(a, b) for a, b in zip(loaded, offered, strict=True))
    assert len(keras_site.hits) == 1


def test_weights_that_arrive_damaged_are_refused_and_fetched_again(offer_weights, keras_site):
    offered = offer_weights("EfficientNetB0")
    (path,) = keras_site.contents
    good = keras_site.contents[path]
    keras_site.contents[path] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(ValueError, match=r"weights of EfficientNetB0 could not be downloaded.*COURSE_BACKBONE"):
        models.backbone("EfficientNetB0", SIZE)
    keras_site.contents[path] = good
    loaded = models.backbone("EfficientNetB0", SIZE).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(loaded, offered, strict=True))


def test_weights_that_the_server_does_not_have_give_one_sentence(keras_site):
    with pytest.raises(ValueError, match=r"weights of VGG16 could not be downloaded: connect"):
        models.backbone("VGG16", SIZE)
    assert keras_site.hits


@pytest.fixture
def hub_address(site, monkeypatch, tmp_path):
    """The address of a Hub model, packed as Hub's servers send it."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    network = models.small_cnn(8, 3)
    maps = keras.Model(network.inputs[0], [x for x in network.layers if len(x.output.shape) == 4][-1].output)
    folder = hub.export(maps, "feature-vector", tmp_path)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    site.contents["models/feature-vector/1?tf-hub-format=compressed"] = packed.getvalue()
    return site.url("models/feature-vector/1"), folder


def test_hub_model_is_downloaded_once_and_says_the_same_as_the_one_that_was_packed(hub_address, site, rng):
    address, folder = hub_address
    images = rng.random((2, 8, 8, 3), dtype=np.float32)
    for _ in range(2):
        np.testing.assert_allclose(hub.HubLayer(address)(images), hub.HubLayer(folder)(images), rtol=1e-5)
    assert len(site.hits) == 1


def test_hub_model_that_the_server_does_not_have_gives_one_sentence(hub_address, site):
    site.contents.clear()
    with pytest.raises(ValueError, match=r"The Hub model http.* could not be loaded .*COURSE_RUN=sample"):
        hub.HubLayer(hub_address[0])

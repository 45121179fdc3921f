"""To look inside a trained model: where it looks (Grad-CAM), what its layers return, how it arranges photographs.

Introduced in lesson 06.
"""

import contextlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

_MOST_COMPONENTS = 50  # that t-SNE gets: distances in more of them cost time and say no more


def grad_cam(
    model: keras.Model, images: np.ndarray, class_index: int | None = None, layer: str | None = None
) -> np.ndarray:
    """Where in each image a model finds what speaks for a class (Selvaraju et al., 2017).

    Each channel of the last feature maps is weighted by how much the class's score rises with it; the weighted maps are
    added, and what lies below zero is dropped. The result is as coarse as those maps. The score is what softmax or
    sigmoid gets, less its mean over the classes, since softmax does not see what is added to all of them.

    Args:
        model: From raw RGB to class probabilities or logits, or to one sigmoid output. Networks may lie inside it.
        images: RGB in [0, 255], ``(n, height, width, 3)``; they are computed in one batch.
        class_index: The class to explain; by default the one that the model predicts for each image.
        layer: Name of the layer whose maps are used, ``(n, h, w, channels)``; by default the last that has any.

    Returns:
        Heat in [0, 1], ``(n, height, width)`` float32, its maximum 1 in each image; zeros where nothing speaks for the
        class.

    Raises:
        ValueError: if there is no such layer, it returns no feature maps, or there is no such class.
    """
    pixels = tf.convert_to_tensor(images, tf.float32)
    chosen = _layer(model, layer) if layer else _last_maps(model)
    if chosen is None:
        raise ValueError(f"{model.name} has no layer that returns feature maps, (n, height, width, channels).")
    tape = tf.GradientTape(watch_accessed_variables=False)  # what comes before the maps need not be remembered
    with tape, _recorded([chosen], tape.watch) as recorded, _without_activation(model):
        answers = tf.cast(model(pixels, training=False), tf.float32)
        if answers.shape[-1] == 1:  # one output speaks for the second class, and against the first
            answers = tf.concat([-answers, answers], axis=-1)
        answers -= tf.reduce_mean(answers, axis=-1, keepdims=True)
        n_classes = answers.shape[-1]
        if class_index is not None and not 0 <= class_index < n_classes:
            raise ValueError(f"There is no class {class_index}: choose from 0 to {n_classes - 1}.")
        classes = tf.argmax(answers, axis=-1) if class_index is None else tf.fill([len(answers)], class_index)
        score = tf.reduce_sum(tf.gather(answers, classes, axis=-1, batch_dims=1))
    maps = recorded[chosen.name]
    if len(maps.shape) != 4:
        raise ValueError(
            f"{chosen.name} returns {maps.shape}: choose a layer that returns (n, height, width, channels)."
        )
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(tf.cast(weights * maps, tf.float32), axis=-1, keepdims=True))
    heat = tf.image.resize(heat, pixels.shape[1:3])[..., 0].numpy()
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


def feature_maps(model: keras.Model, images: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """What the named layers return for images, wherever they lie inside the model.

    Args:
        model: From raw RGB to anything.
        images: RGB in [0, 255], ``(n, height, width, 3)``.
        layers: Names of layers.

    Returns:
        Name to output, ``(n, height, width, channels)`` for a convolution.

    Raises:
        ValueError: if there is no such layer.
    """
    with _recorded([_layer(model, name) for name in layers]) as recorded:
        model(tf.convert_to_tensor(images, tf.float32), training=False)
    return {name: np.asarray(recorded[name]) for name in layers}


def embedding(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """A map of images: their features reduced by PCA to at most 50 numbers, then by t-SNE to two.

    Near points are alike. Distances between far ones, and the sizes of groups, mean little (van der Maaten, 2008). Of
    fewer than 10 images PCA alone makes the map.

    Args:
        features: One row per image, ``(n, numbers)``; n at least 2.
        seed: Of t-SNE.

    Returns:
        Places in the plane, ``(n, 2)`` float32.

    Raises:
        ValueError: if there are fewer than 2 images.
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"A map needs features of at least 2 images, (n, numbers): these are {features.shape}.")
    if len(features) < 10:
        return PCA(2, random_state=seed).fit_transform(features)
    reduced = PCA(min(_MOST_COMPONENTS, *features.shape), random_state=seed).fit_transform(features)
    method = "exact" if len(features) <= 300 else "barnes_hut"  # whose threads cost more than they save on few images
    perplexity = min(30, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=500, method=method, random_state=seed)
    return tsne.fit_transform(reduced)


def _layer(model: keras.Model, name: str) -> keras.Layer:
    """The layer of that name, in the model or in a model inside it."""
    layers = list(model._flatten_layers(include_self=False))
    for layer in layers:
        if layer.name == name:
            return layer
    raise ValueError(f"{model.name} has no layer {name!r}: its last ones are {', '.join(x.name for x in layers[-5:])}.")


def _last_maps(model: keras.Model) -> keras.Layer | None:
    """The last layer that returns feature maps; a network inside the model counts as a layer if it returns them."""
    for layer in reversed(model.layers):
        if len(layer.output.shape) == 4:
            return layer
        if isinstance(layer, keras.Model) and (found := _last_maps(layer)):
            return found
    return None


@contextlib.contextmanager
def _recorded(layers: Sequence[keras.Layer], watch: Callable[[tf.Tensor], None] = lambda tensor: None):
    """Keep what layers return while a model runs, by name; ``watch`` is called with each tensor."""
    kept = {}

    def recording(layer):
        call = layer.call

        def call_and_keep(*inputs, **options):
            kept[layer.name] = call(*inputs, **options)
            watch(kept[layer.name])
            return kept[layer.name]

        return call_and_keep

    with contextlib.ExitStack() as put_back:
        for layer in layers:
            layer.call = recording(layer)
            put_back.callback(delattr, layer, "call")
        yield kept


@contextlib.contextmanager
def _without_activation(model: keras.Model):
    """Let the last layer return what it computes before softmax or sigmoid, which are flat where a model is sure."""
    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    if activation in (keras.activations.softmax, keras.activations.sigmoid):
        last.activation = keras.activations.linear
    try:
        yield
    finally:
        if activation is not None:
            last.activation = activation

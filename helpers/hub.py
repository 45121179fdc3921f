"""TensorFlow Hub models in Keras 3. Introduced in lesson 02."""

from pathlib import Path

import keras
import tensorflow as tf

from helpers import config


@keras.saving.register_keras_serializable("transfer_learning_course")
class HubLayer(keras.layers.Layer):
    """A TensorFlow Hub feature vector as a frozen Keras 3 layer.

    ``hub.KerasLayer`` is a layer of Keras 2 and cannot be added to a Keras 3 model; this one loads the same
    SavedModel and calls it. Gradients do not reach the SavedModel's variables, so it extracts features only.

    Args:
        handle: Address of a Hub model, or the folder of a SavedModel whose ``__call__`` takes images.

    Call arguments:
        images: RGB in [0, 1], as Hub's image models expect, ``(batch, height, width, 3)`` float32.

    Returns:
        Feature vectors, ``(batch, features)`` float32.
    """

    def __init__(self, handle: str, **kwargs):
        # A saved layer's configuration holds both too. The SavedModel computes as it was saved, in float32.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.handle = str(handle)
        self.module = load(self.handle)

    def call(self, images):
        """Run the SavedModel."""
        return self.module(images)

    def compute_output_shape(self, input_shape):
        """``(batch, features)``, as the SavedModel says for one image."""
        features = tf.function(self.module).get_concrete_function(tf.TensorSpec((1, *input_shape[1:]), tf.float32))
        return (input_shape[0], features.output_shapes[-1])

    def count_params(self):
        """Number of parameters in the SavedModel, which Keras does not see."""
        return sum(int(tf.size(variable)) for variable in self.module.variables)

    def get_config(self):
        """The handle, so that a saved model fetches the same SavedModel again."""
        return {**super().get_config(), "handle": self.handle}


def load(handle: str):
    """``hub.load`` with an error that says what to do.

    Raises:
        ValueError: if the model cannot be fetched or read.
    """
    import tensorflow_hub

    try:
        return tensorflow_hub.load(handle)
    except Exception as error:  # the download, the archive and the SavedModel each raise their own
        raise ValueError(
            f"The Hub model {handle} could not be loaded ({type(error).__name__}): check the address and the network, "
            "or use the sample run (COURSE_RUN=sample), which needs neither."
        ) from error


def export(backbone: keras.Model, name: str, folder: Path = config.BUILD / "hub") -> str:
    """Write a backbone as a Hub-style feature vector: a SavedModel from images in [0, 1] to pooled features.

    Args:
        backbone: A model from raw RGB in [0, 255] to feature maps.
        name: Name of the SavedModel below ``folder``.
        folder: Where to write.

    Returns:
        The SavedModel's folder, to be used as a handle.
    """
    module = tf.train.Checkpoint()  # tracks what is assigned to it, as Hub's reusable SavedModels do
    module.variables = [weight.value for weight in backbone.weights]

    @tf.function(input_signature=[tf.TensorSpec((None, *backbone.input_shape[1:]), tf.float32)])
    def feature_vector(images):
        return tf.reduce_mean(backbone(255.0 * images, training=False), axis=(1, 2))

    module.__call__ = feature_vector
    path = str(folder / name)
    tf.saved_model.save(module, path)
    return path

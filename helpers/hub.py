"""TensorFlow Hub models in Keras 3. Introduced in lesson 02."""

from pathlib import Path

import keras
import tensorflow as tf

from helpers import config, lessons, models

_named: set[str] = set()  # handles that code of this process has asked for; files of models may not add any


@keras.saving.register_keras_serializable("transfer_learning_course")
class HubLayer(keras.layers.Layer):
    """A TensorFlow Hub feature vector as a frozen Keras 3 layer.

    ``hub.KerasLayer`` is a layer of Keras 2 and cannot be added to a Keras 3 model; this one loads the same
    SavedModel and calls it. Gradients do reach the SavedModel's variables, but Keras 3 does not track them, so ``fit``
    leaves them as they are: to fine-tune, take the network from ``keras.applications``.

    Args:
        handle: Address of a Hub model, or the folder of a SavedModel whose ``__call__`` takes images.

    Call arguments:
        images: RGB in [0, 1], as Hub's image models expect, ``(batch, height, width, 3)`` float32.

    Returns:
        Feature vectors, ``(batch, features)`` float32.

    Raises:
        ValueError: if the model cannot be loaded, or does not go from such images to vectors.
    """

    def __init__(self, handle: str, **kwargs):
        # A saved layer's configuration holds both too. The SavedModel computes as it was saved, in float32.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.handle = str(handle)
        self.module = load(self.handle)

    def build(self, input_shape):
        """Check that the SavedModel takes such images."""
        self.compute_output_shape(input_shape)

    def call(self, images):
        """Run the SavedModel."""
        return self.module(images)

    def compute_output_shape(self, input_shape):
        """``(batch, features)``, as the SavedModel says for one image."""
        image = tf.TensorSpec((1, *input_shape[1:]), tf.float32)
        try:
            _, n_features = tf.TensorShape(tf.function(self.module).get_concrete_function(image).output_shapes)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"The Hub model {self.handle} does not go from images of {image.shape[1:]} to feature vectors: "
                "choose a model of the kind feature-vector, and images of the size that its page names."
            ) from error
        return (input_shape[0], n_features)

    def count_params(self):
        """Number of parameters in the SavedModel, which Keras does not see."""
        return sum(int(tf.size(variable)) for variable in getattr(self.module, "variables", ()))

    def get_config(self):
        """The handle, so that a saved model fetches the same SavedModel again."""
        return {**super().get_config(), "handle": self.handle}

    @classmethod
    def from_config(cls, config):
        """Make the layer that a file of a model describes, if this process has named its handle before.

        A SavedModel may do what its author likes when it runs, write files for instance: Keras's ``safe_mode`` does
        not look into it, and a file that came from elsewhere must not choose what is fetched and run.
        """
        handle = str(config["handle"])
        if handle not in _named:
            raise ValueError(
                f"This model runs the SavedModel {handle}, which nothing in this session has asked for. If you trust "
                f"it, call hub.load({handle!r}) first, then load the model again."
            )
        return cls(**config)


def load(handle: str):
    """``hub.load`` with an error that says what to do. From now on, saved models with this handle may be loaded.

    Raises:
        ValueError: if the model cannot be fetched or read, or is not made to be called.
    """
    import tensorflow_hub

    try:
        module = tensorflow_hub.load(handle)
    except Exception as error:  # the download, the archive and the SavedModel each raise their own
        raise ValueError(
            f"The Hub model {handle} could not be loaded ({type(error).__name__}): check the address and the network, "
            "or use the sample run (COURSE_RUN=sample), which needs neither."
        ) from error
    if not callable(module):
        raise ValueError(f"The SavedModel {handle} cannot be called: choose a Hub model of the kind feature-vector.")
    _named.add(str(handle))
    return module


def export(backbone: keras.Model, name: str, folder: Path | None = None) -> str:
    """Write a backbone as a Hub-style feature vector: a SavedModel from images in [0, 1] to pooled features.

    Args:
        backbone: A model from raw RGB in [0, 255] to feature maps.
        name: Name of the SavedModel below ``folder``.
        folder: Where to write; by default ``build/hub``.

    Returns:
        The SavedModel's folder, to be used as a handle.
    """
    module = tf.train.Checkpoint()  # tracks what is assigned to it, as Hub's reusable SavedModels do
    module.variables = [weight.value for weight in backbone.weights]

    @tf.function(input_signature=[tf.TensorSpec((None, *backbone.input_shape[1:]), tf.float32)])
    def feature_vector(images):
        return tf.reduce_mean(backbone(255.0 * images, training=False), axis=(1, 2))

    module.__call__ = feature_vector
    path = str((folder or config.BUILD / "hub") / name)
    tf.saved_model.save(module, path)
    _named.add(path)
    return path


def handles(settings: lessons.Settings) -> dict[str, str]:
    """Name of a backbone to the handle of its feature vector, for each one that a lesson compares.

    The full run has addresses. Where a network is at hand (the embedded one, ``COURSE_BACKBONE``, or files in
    ``COURSE_WEIGHTS``), it is exported to a SavedModel's folder, which is a handle too; those without a file
    are then left out, so that no network connection is needed.

    Args:
        settings: The lesson's numbers.
    """
    local = [name for name in settings.hub_models if models.weights_file(name)]
    if not settings.hub_models:
        local = [settings.backbone]
    exported = {name: export(models.backbone(name, settings.image_size), name) for name in local}
    _named.update(settings.hub_models.values())
    return exported or dict(settings.hub_models)

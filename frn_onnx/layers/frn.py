"""The layer ``FRN``: keras-frn's, for models and code that use it."""

import inspect

import keras

from frn_onnx import op
from frn_onnx.errors import ArgumentError
from frn_onnx.layers.filter_response_normalization import FilterResponseNormalization


@keras.saving.register_keras_serializable(package="frn_onnx")
class FRN(FilterResponseNormalization):
    """``FilterResponseNormalization`` with TLU, channels last, in the words of keras-frn.

        y = max(gamma * x / sqrt(mean(x**2) + |epsilon|) + beta, tau)

    It has keras-frn's arguments in its order, holds its weights in its order (tau, gamma,
    beta), and reads the configs that keras-frn writes. Where keras-frn goes wrong it differs:
    with input of rank 3 or 5 the mean is over all spatial axes and no other, not over axes 1
    and 2; under mixed precision it is taken in float32.

    New code has more choice with ``FilterResponseNormalization``.

    Args:
        epsilon: added to nu2 inside the root; its absolute value is used.
        beta_initializer, gamma_initializer, tau_initializers: of the parameters, each (C,).
            The last is a plural in keras-frn, too.
        beta_regularizer, gamma_regularizer, tau_regularizer: likewise.
        beta_constraint, gamma_constraint, tau_constraint: likewise.
        **kwargs: of ``keras.layers.Layer``: name, dtype, trainable, ...

    Input shape: (N, spatial..., C), rank 3 to 5; all but C may be unknown. Output shape: the
        same.

    Raises:
        ArgumentError: an argument is not one of keras-frn's.
        ShapeError: the input is not of rank 3 to 5, or its number of channels is unknown.

    Source:
        github.com/philipperemy/keras-frn; arXiv 1911.09737, section 3.

    Example:
        >>> layer = FRN(tau_initializers="zeros")
        >>> layer.build((None, 8, 8, 16))
        >>> [weight.name for weight in layer.weights]
        ['tau', 'gamma', 'beta']
    """

    _WEIGHT_ORDER = ("tau", "gamma", "beta")

    def __init__(
        self,
        epsilon=op.DEFAULT_EPSILON,
        beta_initializer="zeros",
        gamma_initializer="ones",
        tau_initializers="zeros",
        beta_regularizer=None,
        gamma_regularizer=None,
        tau_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        tau_constraint=None,
        **kwargs,
    ):
        general = inspect.signature(FilterResponseNormalization).parameters
        refused = sorted(set(kwargs) & set(general) - {"name"})
        if refused:
            raise ArgumentError(
                f"FRN: keras-frn's layer has no {', '.join(refused)}; leave it out, or use "
                f"FilterResponseNormalization. Received: {kwargs}"
            )
        super().__init__(
            epsilon=epsilon,
            axis=-1,
            activation="tlu",
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            tau_initializer=tau_initializers,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            tau_regularizer=tau_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            tau_constraint=tau_constraint,
            **kwargs,
        )

    def get_config(self):
        config = super().get_config()
        for fixed in ("axis", "data_format", "activation"):
            del config[fixed]
        for absent in ("learned_epsilon", "learned_epsilon_constraint"):
            del config[absent]
        config["tau_initializers"] = config.pop("tau_initializer")
        return config

    @classmethod
    def from_config(cls, config):
        """The layer of a config, also of one that keras-frn wrote.

        Those hold ``axis`` and ``tau_initializer``, which keras-frn's constructor does not take.
        """
        config = dict(config)
        axis = config.pop("axis", -1)
        if axis != -1:
            raise ArgumentError(
                "FRN: keras-frn normalises channels-last tensors only, so axis in its config is "
                f"-1. Received: axis={axis!r}. Use FilterResponseNormalization(axis=...)"
            )
        if "tau_initializer" in config:
            config["tau_initializers"] = config.pop("tau_initializer")
        # Past FilterResponseNormalization, whose from_config is for TensorFlow Addons'.
        return super(FilterResponseNormalization, cls).from_config(config)

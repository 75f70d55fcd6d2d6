"""Filter Response Normalization for Keras 3, on every backend.

    nu2 = mean(x**2) over the spatial axes, per sample and channel
    y   = max(gamma * x / sqrt(nu2 + epsilon) + beta, tau)

========================================  ===================================================
``FilterResponseNormalization``           the layer to use; TensorFlow Addons' argument names
``TLU``                                   the threshold alone, ``max(y, tau)``
``FRN``                                   the layer of keras-frn, word for word
``CUSTOM_OBJECTS``                        for ``keras.models.load_model`` on files that were
                                          written with keras-frn or TensorFlow Addons
========================================  ===================================================

Source: Singh and Krishnan, Filter Response Normalization Layer, arXiv 1911.09737.
"""

from frn_onnx.errors import DependencyError, missing_dependency

try:
    import keras
except ImportError as error:
    if error.name == "keras":
        raise missing_dependency("keras", "keras", "frn_onnx.layers") from error
    # Keras imports its backend, TensorFlow unless KERAS_BACKEND names another.
    raise missing_dependency(
        error.name or "keras", "keras", "frn_onnx.layers, through Keras' backend,"
    ) from error
if int(keras.__version__.split(".")[0]) < 3:
    raise DependencyError(
        f"frn_onnx.layers needs Keras 3 or newer, found Keras {keras.__version__}; "
        "install it with: pip install 'frn_onnx[keras]'"
    )

from frn_onnx.layers.filter_response_normalization import FilterResponseNormalization
from frn_onnx.layers.frn import FRN
from frn_onnx.layers.tlu import TLU

__all__ = ["CUSTOM_OBJECTS", "FRN", "TLU", "FilterResponseNormalization"]

CUSTOM_OBJECTS = {
    "FRN": FRN,
    "Addons>FilterResponseNormalization": FilterResponseNormalization,
    "Addons>TLU": TLU,
}
"""The names under which keras-frn and TensorFlow Addons wrote these layers into files."""

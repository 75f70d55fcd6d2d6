"""Keras models, SavedModels and ``tf.function``s to ONNX, with FRN as one node.

    trace with TensorFlow -> convert with tf2onnx -> fuse -> lower

==================  ============================================================
``export``          the model in ONNX; ``frn_onnx.export`` is this function
``export_model``    the same, with a report: counts, and how well it agrees
``source``          what kinds of models there are
``conversion``      tf2onnx
``open_sizes``      names for batch, height and width where they are open
``verification``    the comparison on random input
==================  ============================================================
"""

import sys
import types

from frn_onnx.errors import missing_dependency

try:
    from frn_onnx.export.api import ExportResult, export, export_model
except ImportError as error:
    if error.name in ("keras", "tensorflow", "tf2onnx"):
        raise missing_dependency(error.name, "keras", "frn_onnx.export") from error
    raise

__all__ = ["ExportResult", "export", "export_model"]

# ``frn_onnx.export`` is the function, unless somebody imports the package of this name.
vars(export).update(ExportResult=ExportResult, export_model=export_model)


class _CallablePackage(types.ModuleType):
    """``import frn_onnx.export`` puts this package where ``frn_onnx.export`` is the function."""

    __call__ = staticmethod(export)


sys.modules[__name__].__class__ = _CallablePackage

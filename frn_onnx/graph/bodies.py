"""Whether the functions that a file has under the names of the ops compute what the ops do.

They are to be replaced: by kernels where the plugin is, and by other nodes where a file changes
its form. A function of somebody else's, or of a later version, would become another function.
"""

import logging

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from frn_onnx import op, reference
from frn_onnx.errors import ModelError

logger = logging.getLogger("frn_onnx.graph")

_SHAPE, _AXES, _EPSILON = (2, 3, 4, 5), (2, 3), 0.25
_ATTRIBUTES = {"axes": _AXES, "epsilon": _EPSILON}
# A body may round what it gives to bfloat16.
_ALLOWED = 2.0**-6


def check(function: ir.Function) -> None:
    """Tries the body of an op on numbers.

    Raises:
        ModelError: it computes something else than the op.
    """
    names, count = op.SIGNATURES[function.name], len(function.inputs)
    if not op.required_inputs(function.name) <= count <= len(names):
        return  # no node that may call it is one
    feeds = _feeds(function)
    arguments = {"epsilon": np.asarray(_EPSILON), **feeds}
    expected = reference.frn(arguments.pop("X"), axes=_AXES, **arguments)
    y = _run(function, feeds)
    if y is None:
        return
    if y.shape == expected.shape and np.allclose(y, expected, rtol=_ALLOWED, atol=_ALLOWED):
        return
    raise ModelError(
        f"the file has a function {op.DOMAIN}::{function.name} that computes something else than "
        f"the op of that name, which would take its place; rename it, or inline it "
        "(onnx.inliner.inline_local_functions)"
    )


def _feeds(function: ir.Function) -> dict[str, np.ndarray]:
    """An array for each input of the function, by the names that the op has for them."""
    names, rng = op.SIGNATURES[function.name], np.random.default_rng(0)
    activations = names[: op.first_parameter(function.name)]
    parameter = op.param_shape(_AXES, _SHAPE[1])
    arrays = {
        name: rng.normal(0.2, 1, _SHAPE if name in activations else parameter) for name in names
    }
    arrays["epsilon"] = np.abs(arrays["epsilon"])
    return dict(list(arrays.items())[: len(function.inputs)])


def _run(function: ir.Function, feeds: dict[str, np.ndarray]) -> np.ndarray | None:
    """What a body gives; None where the evaluator cannot run it."""
    proto = ir.to_proto(function)
    for dtype in (np.float32, np.float64):
        types = dict.fromkeys(feeds, dtype) | {"epsilon": np.float32}
        arrays = [array.astype(types[name]) for name, array in feeds.items()]
        try:
            with np.errstate(all="ignore"):
                evaluator = ReferenceEvaluator(proto)
                given = dict(zip(proto.input, arrays, strict=True))
                (y,) = evaluator.run(None, given, attributes=_ATTRIBUTES)
            return np.asarray(y).astype(np.float64)
        except Exception as error:  # the evaluator's errors share no base class
            logger.debug(
                "the body of %s does not run on %s: %s", function.name, dtype.__name__, error
            )
    return None

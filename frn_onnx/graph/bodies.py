"""Whether the functions that a file has under the names of the ops compute what the ops do.

They are to be replaced: by kernels where the plugin is, and by other nodes where a file changes
its form. A function of somebody else's, or of a later version, would become another function.
"""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from frn_onnx import op, reference
from frn_onnx.errors import ModelError
from frn_onnx.graph.sites import Site

logger = logging.getLogger("frn_onnx.graph")

# Of x, whose axes have different sizes.
_SIZES = (2, 3, 4, 5, 6)
_TELLING = (1e-30, 1e30)
# A body may round what it gives to bfloat16.
_ALLOWED = 2.0**-6


def check(function: ir.Function, sites: Iterable[Site]) -> None:
    """Tries the body of an op on numbers, with the attributes of each node that calls it.

    Raises:
        ModelError: it computes something else than the op.
    """
    names, count = op.SIGNATURES[function.name], len(function.inputs)
    if not op.required_inputs(function.name) <= count <= len(names):
        return  # no node that may call it is one
    calling = [site for site in sites if site.node.op_identifier() == function.identifier()]
    for attributes in dict.fromkeys(_given(site) for site in calling):
        if not _agrees(function, dict(attributes)):
            raise ModelError(
                f"the file has a function {op.DOMAIN}::{function.name} that computes something "
                "else than the op of that name, which would take its place; rename it, or inline "
                "it (onnx.inliner.inline_local_functions)"
            )


def _given(site: Site) -> tuple[tuple[str, Any], ...]:
    """The attributes that a node states."""
    values = zip(("axes", "epsilon"), site.attributes(), strict=True)
    return tuple((name, value) for name, value in values if name in site.node.attributes)


def _agrees(function: ir.Function, attributes: dict) -> bool:
    """Whether a body computes what the op does, as far as the evaluator can run it."""
    axes, epsilon = attributes["axes"], attributes.get("epsilon", op.DEFAULT_EPSILON)
    feeds = _feeds(function, axes, abs(epsilon))
    arguments = {"epsilon": np.asarray(epsilon), **feeds}
    expected = reference.frn(arguments.pop("X"), axes=axes, **arguments)
    y = _run(function, feeds, attributes)
    return y is None or (
        y.shape == expected.shape and np.allclose(y, expected, rtol=_ALLOWED, atol=_ALLOWED)
    )


def _feeds(function: ir.Function, axes: tuple[int, ...], epsilon: float) -> dict[str, np.ndarray]:
    """An array for each input of the function, by the names that the op has for them.

    One sample is so small that epsilon tells, where the squares of such are floats.
    """
    names, rng = op.SIGNATURES[function.name], np.random.default_rng(0)
    shape = _SIZES[: len(axes) + 2]
    activations = names[: op.first_parameter(function.name)]
    parameter = op.param_shape(axes, shape[op.channel_axis(axes)])
    arrays = {
        name: rng.normal(0.2, 1, shape if name in activations else parameter) for name in names
    }
    if _TELLING[0] < epsilon < _TELLING[1]:
        arrays["X"][0] *= epsilon**0.5
    arrays["epsilon"] = np.abs(arrays["epsilon"])
    return dict(list(arrays.items())[: len(function.inputs)])


def _run(
    function: ir.Function, feeds: dict[str, np.ndarray], attributes: dict
) -> np.ndarray | None:
    """What a body gives; None where the evaluator cannot run it."""
    proto = ir.to_proto(function)
    defaults = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute_proto}
    for dtype in (np.float32, np.float64):
        types = dict.fromkeys(feeds, dtype) | {"epsilon": np.float32}
        arrays = [array.astype(types[name]) for name, array in feeds.items()]
        try:
            with np.errstate(all="ignore"):
                evaluator = ReferenceEvaluator(proto)
                given = dict(zip(proto.input, arrays, strict=True))
                (y,) = evaluator.run(None, given, attributes=defaults | attributes)
            return np.asarray(y).astype(np.float64)
        except Exception as error:  # the evaluator's errors share no base class
            logger.debug(
                "the body of %s does not run on %s: %s", function.name, dtype.__name__, error
            )
    return None

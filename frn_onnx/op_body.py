"""The two ops written in standard ops: what a portable file holds as their functions."""

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from frn_onnx import op
from frn_onnx.errors import ModelError

# CastLike came with opset 15, and ReduceMean's axes moved from an attribute to an input with 18.
CAST_LIKE_OPSET = 15
_AXES_INPUT_OPSET = 18


def _attribute(
    name: str, value: float | Sequence[int] | None, *, reference: str
) -> onnx.AttributeProto:
    """An attribute with a value, or, for None, one that refers to the function's attribute."""
    if value is not None:
        return helper.make_attribute(name, value)
    kind = AttributeProto.FLOAT if reference == "epsilon" else AttributeProto.INTS
    return AttributeProto(name=name, type=kind, ref_attr_name=reference)


def body(
    inputs: Sequence[str],
    output: str,
    *,
    opset: int,
    x_types: Collection[int],
    param_types: Collection[int],
    axes: Sequence[int] | None = None,
    epsilon: float | None = None,
    prefix: str = "",
    op_type: str = op.OP_TYPE,
    norm: bool = False,
) -> list[onnx.NodeProto]:
    """An op written in standard ops, in their cheapest order.

    gamma is folded into the small tensor (gamma / sqrt(nu2 + epsilon)) before it meets X, so
    X is passed over five times rather than six.

    Args:
        inputs: names for the op's inputs; ``""`` is an absent one.
        output: name for Y.
        opset: version of the standard opset the nodes are written for, from 8.
        x_types: the element types X may have (``TensorProto`` numbers); what is not float,
            or double, is cast to it before the square and back at the end.
        param_types: the element types the parameters may have.
        axes, epsilon: the attributes' values; None writes a reference to the attribute of
            the function these nodes are the body of.
        prefix: put before the names of the values in between.
        op_type: which of the two ops.
        norm: write the mean of squares as (ReduceL2(x) / sqrt(n)) ** 2, which OpenVINO
            computes faster in larger batches; n comes from Shape.
            Divided before it is squared, so that nothing overflows which a mean would not.

    Raises:
        ModelError: X may have several half types and the opset has no CastLike.
    """
    x_types, param_types = set(x_types), set(param_types)
    compute = TensorProto.DOUBLE if TensorProto.DOUBLE in x_types else TensorProto.FLOAT
    nodes: list[onnx.NodeProto] = []

    def add(op_type: str, args: Sequence[str], name: str, **attributes) -> str:
        out = name if name == output else prefix + name
        nodes.append(helper.make_node(op_type, list(args), [out], name=out, **attributes))
        return out

    def constant(name: str, attribute: str, value: float | Sequence[int] | None) -> str:
        out = add("Constant", [], name)
        if value is None:
            nodes[-1].attribute.append(_attribute(attribute, value, reference=name))
        else:
            # A tensor: float16 tools do not convert plain numbers.
            dtype = np.float32 if attribute == "value_float" else np.int64
            tensor = numpy_helper.from_array(np.asarray(value, dtype))
            nodes[-1].attribute.append(helper.make_attribute("value", tensor))
        return out

    def cast(value: str, name: str, types: set[int]) -> str:
        return value if types == {compute} else add("Cast", [value], name, to=compute)

    def reduce(op_type: str, value: str, name: str) -> str:
        if opset >= _AXES_INPUT_OPSET:
            return add(op_type, [value, axes_value], name, keepdims=1)
        out = add(op_type, [value], name, keepdims=1)
        nodes[-1].attribute.append(_attribute("axes", axes, reference="axes"))
        return out

    def root_of_count(value: str) -> str:
        sizes = add("Gather", [add("Shape", [value], "shape"), axes_value], "sizes")
        count = add("ReduceProd", [sizes], "count", keepdims=0)
        return add("Sqrt", [add("Cast", [count], "count_wide", to=compute)], "count_root")

    given = dict(zip(op.SIGNATURES[op_type], inputs, strict=False))
    x, tau = given["X"], given.get("tau")
    wide = cast(x, "x_wide", x_types)
    if norm or opset >= _AXES_INPUT_OPSET:
        axes_value = constant("axes", "value_ints", axes)
    if norm:
        rms = add("Div", [reduce("ReduceL2", wide, "norm"), root_of_count(wide)], "rms")
        nu2 = add("Mul", [rms, rms], "nu2")
    else:
        nu2 = reduce("ReduceMean", add("Mul", [wide, wide], "square"), "nu2")
    if per_channel := given.get("epsilon"):
        added = cast(per_channel, "epsilon_wide", {TensorProto.FLOAT})
    else:
        scalar = constant("epsilon", "value_float", epsilon)
        added = cast(scalar, "epsilon_wide", {TensorProto.FLOAT})
    root = add("Sqrt", [add("Add", [nu2, added], "nu2_epsilon")], "root")
    scale = add("Div", [cast(given["gamma"], "gamma_wide", param_types), root], "scale")
    scaled = add("Mul", [wide, scale], "scaled")

    narrow = x_types != {compute}
    terms = [scaled, cast(given["beta"], "beta_wide", param_types)]
    shifted = "shifted"
    if residual := given.get("residual"):
        terms = [add("Add", terms, shifted), cast(residual, "residual_wide", x_types)]
        shifted = "sum"
    if tau:
        tail, args = "Max", [add("Add", terms, shifted), cast(tau, "tau_wide", param_types)]
    else:
        tail, args = "Add", terms
    if not narrow:
        add(tail, args, output)
        return nodes
    y_wide = add(tail, args, "y_wide")
    if len(x_types) == 1:
        add("Cast", [y_wide], output, to=next(iter(x_types)))
    elif opset >= CAST_LIKE_OPSET:
        add("CastLike", [y_wide, x], output)
    else:
        names = ", ".join(sorted(TensorProto.DataType.Name(t) for t in x_types))
        raise ModelError(
            f"FRN: a file with FRN layers of several types ({names}) needs opset "
            f"{CAST_LIKE_OPSET} or newer for the function body, received opset {opset}; "
            "convert the model with onnx.version_converter, or lower it to 'custom'."
        )
    return nodes


def function_proto(
    *,
    opset: int,
    inputs: int,
    x_types: Collection[int],
    param_types: Collection[int],
    op_type: str = op.OP_TYPE,
) -> onnx.FunctionProto:
    """The model-local function that makes a file portable: an op in standard ops.

    It has the op's domain and name. A runtime with the plugin takes its kernel, one
    without inlines this body.

    Args:
        opset: version of the standard opset of the file.
        inputs: how many inputs all nodes of this op in the file have; a function's body
            cannot ask whether one is there. Before opset 12 it has to be all: no Constant
            could hold the attribute epsilon.
        x_types, param_types, op_type: as for :func:`body`.
    """
    names = op.SIGNATURES[op_type][:inputs]
    nodes = body(names, "Y", opset=opset, x_types=x_types, param_types=param_types, op_type=op_type)
    return helper.make_function(
        op.DOMAIN,
        op_type,
        list(names),
        ["Y"],
        nodes,
        [helper.make_opsetid("", opset)],
        attributes=["axes", "epsilon"],
    )

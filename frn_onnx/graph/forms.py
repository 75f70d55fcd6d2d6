"""The three forms of a file with FRN, and the way from each to each.

* ``portable``: FRN nodes, and for each op one model-local function of its name that says in
  standard ops what they compute. Runs in every ONNX Runtime; with the plugin its kernel is taken.
* ``custom``: FRN nodes alone; needs the plugin.
* ``primitives``: standard ops only.

``custom`` is the canonical form: tau is absent where there is no threshold, and a per-channel
epsilon is there only where it differs between channels. In a portable file all nodes of an op
have the same inputs, because a function's body cannot ask whether one is there: what a node lacks
is filled with what changes nothing (tau = -inf), and taken out again on the way back.
"""

import math
from typing import Literal, get_args

import onnx
import onnx_ir as ir
from onnx import TensorProto

from frn_onnx import op, op_body
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import bodies, optional_inputs, protos
from frn_onnx.graph.edit import FreeNames, move_descriptions, raise_ir_version, take_over
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.operands import Operands, operands
from frn_onnx.graph.sites import Site, frn_functions, frn_sites, opset

Form = Literal["portable", "custom", "primitives"]
FORMS: tuple[str, ...] = get_args(Form)
Target = Literal["onnxruntime", "openvino"]
TARGETS: tuple[str, ...] = get_args(Target)

# The oldest standard opset that the op's body is written for, and the one from which on a
# function's Constant can hold an attribute of the function; before, epsilon has to be an input.
_OLDEST_OPSET = 8
_CONSTANT_ATTRIBUTE_OPSET = 12
# What ONNX Runtime writes for every domain of a custom-op library that the process has loaded,
# into optimised models that do not use it, too.
_ORT_VERSION = 1000


def check_form(form: str) -> None:
    """Raises ArgumentError unless ``form`` is one of the three."""
    if form not in FORMS:
        raise ArgumentError(f"form must be one of {', '.join(FORMS)}, received {form!r}")


def check_target(target: str, form: str) -> None:
    """Raises ArgumentError unless there is such a target and the form is written for it."""
    if target not in TARGETS:
        raise ArgumentError(f"target must be one of {', '.join(TARGETS)}, received {target!r}")
    if target != "onnxruntime" and form != "primitives":
        raise ArgumentError(
            f"only the form 'primitives' is written for {target}, which takes no other; "
            f"received the form {form!r}"
        )


def form_of(model: ir.Model | onnx.ModelProto) -> str:
    """The form a model is in; a model without any FRN node is in ``primitives``."""
    if isinstance(model, onnx.ModelProto):
        model = protos.from_proto(model)
    if not frn_sites(model):
        return "primitives"
    return "portable" if frn_functions(model) else "custom"


def set_form(
    model: ir.Model, form: Form, shapes: Shapes | None = None, *, target: Target = "onnxruntime"
) -> list[Operands]:
    """Brings the FRN nodes of a model into a form, in place; without any, nothing happens.

    Args:
        model: the model.
        form: the form.
        shapes: of the model's values, where they are known already.
        target: the runtime that primitives are to be fastest in.

    Returns:
        What is known of the inputs of each FRN node.

    Raises:
        ModelError: an FRN node, or a function that is its body, is invalid, or the model's opset
            is too old for the form.
    """
    sites = frn_sites(model)
    _check(model, sites)
    for function in frn_functions(model):
        bodies.check(function, sites)
        del model.functions[function.identifier()]
    optional_inputs.canonicalise(sites)
    known = operands(model, sites, shapes)
    _check_operands(sites, known)
    _state_outputs(sites, known)
    if form == "portable" and sites:
        _add_functions(model, sites, known)
    if form == "primitives" and sites:
        _write_out(model, sites, known, norm=target == "openvino")
    _set_imports(model)
    if sites:
        raise_ir_version(model, op.FUNCTION_IR_VERSION if form == "portable" else 0)
    return known


def _check(model: ir.Model, sites: list[Site]) -> None:
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        version = imports.get(op.DOMAIN, op.VERSION)
        if sites and version not in (op.VERSION, _ORT_VERSION):
            raise ModelError(
                f"the model uses version {version} of the opset {op.DOMAIN!r}, this package "
                f"knows version {op.VERSION}; install the version of frn_onnx that the file was "
                "made with"
            )
    for site in sites:
        names, required = op.SIGNATURES[site.node.op_type], op.required_inputs(site.node.op_type)
        if not required <= len(site.node.inputs) <= len(names):
            raise ModelError(
                f"FRN node {site.label!r}: expected {required} to {len(names)} inputs "
                f"({', '.join(names)}), received {len(site.node.inputs)}"
            )
        _, epsilon = site.attributes()
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise ModelError(
                f"FRN node {site.label!r}: epsilon must be finite and not negative, received "
                f"{epsilon}; store its absolute value"
            )


def _check_operands(sites: list[Site], operands: list[Operands]) -> None:
    for site, known in zip(sites, operands, strict=True):
        wrong = (known.x_types | known.param_types) - set(op.DTYPES)
        if wrong:
            expected = ", ".join(TensorProto.DataType.Name(t) for t in op.DTYPES)
            received = ", ".join(TensorProto.DataType.Name(t) for t in wrong)
            raise ModelError(
                f"FRN node {site.label!r}: the types of X and its parameters must be among "
                f"{expected}, received {received}; put a Cast before the node"
            )
        if known.misfit:
            raise ModelError(f"FRN node {site.label!r}: {known.misfit}")


def _state_outputs(sites: list[Site], operands: list[Operands]) -> None:
    """States the type and shape of Y, past which ONNX itself cannot infer."""
    for site, known in zip(sites, operands, strict=True):
        y = site.node.outputs[0]
        if site.scope.function is None and len(known.x_types) == 1:
            if y.dtype is None:
                y.dtype = next(iter(known.x_types))
            if y.shape is None and len(known.x_shapes) == 1:
                y.shape = ir.Shape(known.x_shapes[0])


def _add_functions(model: ir.Model, sites: list[Site], operands: list[Operands]) -> None:
    """Gives the nodes of each op the same inputs, and the model the function that is its body."""
    version = _body_opset(model)
    filler = optional_inputs.Filler(model)
    # In front: ONNX's reference evaluator knows only functions defined before their callers.
    others = dict(model.functions)
    model.functions.clear()
    for op_type, names in op.SIGNATURES.items():
        pairs = zip(sites, operands, strict=True)
        chosen = [(site, operand) for site, operand in pairs if site.node.op_type == op_type]
        if not chosen:
            continue
        known = [_completed(operand, version) for _, operand in chosen]
        count = max(len(site.node.inputs) for site, _ in chosen)
        if version < _CONSTANT_ATTRIBUTE_OPSET:
            count = len(names)
        for site, _ in chosen:
            filler.complete(site, count)
        body = op_body.function_proto(
            opset=version,
            inputs=count,
            x_types=set().union(*(k.x_types for k in known)),
            param_types=set().union(*(k.param_types for k in known)),
            op_type=op_type,
        )
        function = ir.serde.deserialize_function(body)
        model.functions[function.identifier()] = function
    model.functions.update(others)


def _write_out(model: ir.Model, sites: list[Site], operands: list[Operands], *, norm: bool) -> None:
    """Puts the op's body in standard ops in place of each FRN node."""
    names = FreeNames(model)
    version = _body_opset(model)
    for site, operand in zip(sites, operands, strict=True):
        node = site.node
        y = node.outputs[0]
        if site.scope.function is not None:
            # It has to mean the same in the model's opset: ONNX Runtime takes only that.
            site.scope.function.opset_imports[""] = version
        known = _completed(operand, version)
        axes, epsilon = site.attributes()
        body = op_body.body(
            [value.name if value is not None else "" for value in node.inputs],
            y.name,
            opset=version,
            x_types=known.x_types,
            param_types=known.param_types,
            axes=axes,
            epsilon=epsilon,
            prefix=names.free(node.name or y.name) + "/",
            op_type=node.op_type,
            norm=norm,
        )
        values = {value.name: value for value in node.inputs if value is not None}
        nodes = [_node(proto, values) for proto in body]
        site.scope.graph.insert_before(node, nodes)
        last = nodes[-1]
        take_over(y, last.outputs[0])
        site.scope.graph.remove(node, safe=True)
        last.name = node.name
        move_descriptions(node, last)


def _node(proto: onnx.NodeProto, values: dict[str, ir.Value]) -> ir.Node:
    """A node that reads from ``values``, by name, and adds its own."""
    node = ir.node(
        proto.op_type,
        [values[name] for name in proto.input],
        {attribute.name: ir.from_proto(attribute) for attribute in proto.attribute},
        name=proto.name,
    )
    node.outputs[0].name = proto.output[0]
    values[proto.output[0]] = node.outputs[0]
    return node


def _body_opset(model: ir.Model) -> int:
    version = opset(model)
    if version < _OLDEST_OPSET:
        raise ModelError(
            f"FRN in standard ops needs opset {_OLDEST_OPSET} or newer, the model has {version}; "
            f"convert it with onnx.version_converter.convert_version(model, "
            f"{_OLDEST_OPSET}) before fusing, or choose the form 'custom'"
        )
    return version


def _completed(known: Operands, version: int) -> Operands:
    """Types to write a body for; where inference found none, such as suit any but double."""
    either = {ir.DataType.FLOAT, ir.DataType.FLOAT16}
    x_types = known.x_types
    if not x_types and ir.DataType.DOUBLE in known.param_types:
        x_types = {ir.DataType.DOUBLE}
    elif not x_types:
        x_types = either if version >= op_body.CAST_LIKE_OPSET else {ir.DataType.FLOAT}
    return Operands(x_types, known.param_types or either)


def _set_imports(model: ir.Model) -> None:
    """Lets the model and its functions import the op's domain where they use it, only there.

    By other names, too: tools rename a function, and the nodes that call it, within the domain.
    """
    sites = frn_sites(model)
    using = [model.graph, *(site.scope.function.graph for site in sites if site.scope.function)]
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        if sites and graph in using:
            graph.opset_imports[op.DOMAIN] = op.VERSION
        elif all(node.domain != op.DOMAIN for node in graph.all_nodes()):
            graph.opset_imports.pop(op.DOMAIN, None)

"""The three forms of a file with FRN, and the way from each to each.

* ``portable``: FRN nodes, and one model-local function of the op's name that says in standard
  ops what they compute. Runs in every ONNX Runtime; with the plugin its kernel is taken.
* ``custom``: FRN nodes alone; needs the plugin.
* ``primitives``: standard ops only.

``custom`` is the canonical form: tau is absent where there is no threshold, and a per-channel
epsilon is there only where it differs between channels. In a portable file all FRN nodes have
the same inputs, because a function's body cannot ask whether one is there: what a node lacks
is filled with what changes nothing (tau = -inf), and taken out again on the way back.
"""

from typing import Literal, get_args

import onnx
from onnx import GraphProto, TensorProto

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import infer, inputs, scopes
from frn_onnx.graph.infer import Operands
from frn_onnx.graph.names import Names
from frn_onnx.graph.scopes import Scope, Site

Form = Literal["portable", "custom", "primitives"]
FORMS: tuple[str, ...] = get_args(Form)

# The oldest standard opset that the op's body is written for, the one from which on a function's
# Constant can hold an attribute of the function (before, epsilon has to be an input), and the one
# that brought CastLike.
_OLDEST_OPSET = 8
# What ONNX Runtime writes for every domain of a custom-op library that the process has loaded,
# into optimised models that do not use it, too.
_ORT_VERSION = 1000
_CONSTANT_ATTRIBUTE_OPSET = 12
_CAST_LIKE_OPSET = 15


def check_form(form: str) -> None:
    """Raises ArgumentError unless ``form`` is one of the three."""
    if form not in FORMS:
        raise ArgumentError(f"form must be one of {', '.join(FORMS)}, received {form!r}")


def form_of(model: onnx.ModelProto) -> str:
    """The form a model is in; a model without any FRN node is in ``primitives``."""
    if not scopes.frn_sites(model):
        return "primitives"
    return "portable" if scopes.frn_function(model) is not None else "custom"


def lower_nodes(model: onnx.ModelProto, form: Form) -> None:
    """Brings the FRN nodes of a model into a form, in place; without any, nothing happens."""
    function = scopes.frn_function(model)
    if function is not None:
        model.functions.remove(function)
    sites = scopes.frn_sites(model)
    _check_version(model, sites)
    inputs.canonicalise(model)
    sites = scopes.frn_sites(model)
    operands = infer.operands(model)
    _check_types(sites, operands)
    _state_outputs(sites, operands)
    if form == "portable" and sites:
        _add_function(model, sites, operands)
    if form == "primitives":
        _write_out(model, sites, operands)
    _set_imports(model)


def _check_version(model: onnx.ModelProto, sites: list[Site]) -> None:
    for owner in (model, *model.functions):
        for entry in owner.opset_import:
            known = entry.version in (op.VERSION, _ORT_VERSION)
            if entry.domain == op.DOMAIN and not known and sites:
                raise ModelError(
                    f"the model uses version {entry.version} of the opset {op.DOMAIN!r}, this "
                    f"package knows version {op.VERSION}; install the version of frn_onnx that "
                    "the file was made with"
                )
    for site in sites:
        if not op.REQUIRED_INPUTS <= len(site.node.input) <= len(op.INPUTS):
            raise ModelError(
                f"FRN node {site.label!r}: expected {op.REQUIRED_INPUTS} to {len(op.INPUTS)} "
                f"inputs ({', '.join(op.INPUTS)}), received {len(site.node.input)}"
            )
        site.attributes()


def _check_types(sites: list[Site], operands: list[Operands]) -> None:
    for site, known in zip(sites, operands, strict=True):
        wrong = (known.x_types | known.param_types) - set(op.DTYPES)
        if wrong:
            expected = ", ".join(TensorProto.DataType.Name(t) for t in op.DTYPES)
            received = ", ".join(TensorProto.DataType.Name(t) for t in wrong)
            raise ModelError(
                f"FRN node {site.label!r}: the types of X and its parameters must be among "
                f"{expected}, received {received}; put a Cast before the node"
            )


def _state_outputs(sites: list[Site], operands: list[Operands]) -> None:
    """Writes the type and shape of Y into value_info, past which ONNX itself cannot infer."""
    stated: dict[Scope, dict[str, onnx.ValueInfoProto]] = {}
    for site, known in zip(sites, operands, strict=True):
        graph = site.scope.body
        if not isinstance(graph, GraphProto) or len(known.x_types) != 1:
            continue
        if site.scope not in stated:
            stated[site.scope] = {v.name: v for v in (*graph.value_info, *graph.output)}
        y = site.node.output[0]
        value = stated[site.scope].get(y)
        if value is None:
            value = graph.value_info.add(name=y)
        tensor = value.type.tensor_type
        tensor.elem_type = tensor.elem_type or next(iter(known.x_types))
        if len(known.x_shapes) == 1 and not tensor.HasField("shape"):
            tensor.shape.CopyFrom(known.x_shapes[0])


def _add_function(model: onnx.ModelProto, sites: list[Site], operands: list[Operands]) -> None:
    """Gives all FRN nodes the same inputs, and the model the function that is their body."""
    opset = _body_opset(model, "portable")
    known = [_completed(operand, opset) for operand in operands]
    count = max(len(site.node.input) for site in sites)
    if opset < _CONSTANT_ATTRIBUTE_OPSET:
        count = len(op.INPUTS)
    filler = inputs.Filler(model)
    _rewrite(sites, [filler.complete(site, count) for site in sites])
    model.ir_version = max(model.ir_version, op.FUNCTION_IR_VERSION)
    function = op.function_proto(
        opset=opset,
        inputs=count,
        x_types=set().union(*(k.x_types for k in known)),
        param_types=set().union(*(k.param_types for k in known)),
    )
    # In front: ONNX's reference evaluator knows only functions defined before their callers.
    model.functions.insert(0, function)


def _write_out(model: onnx.ModelProto, sites: list[Site], operands: list[Operands]) -> None:
    """Puts the op's body in standard ops in place of each FRN node."""
    names = Names(model)
    opset = _body_opset(model, "primitives") if sites else 0
    expanded = []
    for site, operand in zip(sites, operands, strict=True):
        node = site.node
        if site.scope.function is not None:
            _set_opset(site.scope.function, opset)
        known = _completed(operand, opset)
        axes, epsilon = site.attributes()
        nodes = op.body(
            node.input,
            node.output[0],
            opset=opset,
            x_types=known.x_types,
            param_types=known.param_types,
            axes=axes,
            epsilon=epsilon,
            prefix=names.free(node.name or node.output[0]) + "/",
        )
        nodes[-1].name = node.name
        nodes[-1].doc_string = node.doc_string
        nodes[-1].metadata_props.extend(node.metadata_props)
        expanded.append(nodes)
    _rewrite(sites, expanded)


def _set_opset(function: onnx.FunctionProto, version: int) -> None:
    """Lets a function say that it is written in the model's opset; see :func:`scopes.opset`."""
    for entry in function.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version
            return
    function.opset_import.add(domain="", version=version)


def _body_opset(model: onnx.ModelProto, form: str) -> int:
    opset = scopes.opset(model)
    if opset < _OLDEST_OPSET:
        raise ModelError(
            f"the form {form!r} needs standard opset {_OLDEST_OPSET} or newer, the model has "
            f"{opset or 'none'}; convert it with onnx.version_converter.convert_version(model, "
            f"{_OLDEST_OPSET}) before fusing, or choose the form 'custom'"
        )
    return opset


def _completed(known: Operands, opset: int) -> Operands:
    """Types to write a body for; where inference found none, such as suit any but double."""
    either: set[int] = {TensorProto.FLOAT, TensorProto.FLOAT16}
    x_types = known.x_types
    if not x_types and TensorProto.DOUBLE in known.param_types:
        x_types = {TensorProto.DOUBLE}
    elif not x_types:
        x_types = either if opset >= _CAST_LIKE_OPSET else {TensorProto.FLOAT}
    return Operands(x_types, known.param_types or either)


def _rewrite(sites: list[Site], replacements: list[list[onnx.NodeProto]]) -> None:
    """Puts nodes in place of FRN nodes, keeping the order of all others."""
    by_scope: dict[Scope, list[list[onnx.NodeProto]]] = {}
    for site, nodes in zip(sites, replacements, strict=True):
        by_scope.setdefault(site.scope, []).append(nodes)
    # Writing a list of nodes copies them with their subgraphs: inner scopes go first.
    for scope, expansions in reversed(by_scope.items()):
        pending = iter(expansions)
        rewritten: list[onnx.NodeProto] = []
        for node in scope.body.node:
            rewritten.extend(next(pending) if scopes.is_frn(node) else [node])
        del scope.body.node[:]
        scope.body.node.extend(rewritten)


def _set_imports(model: onnx.ModelProto) -> None:
    """Lets the model and its functions import the op's domain where they use it, only there."""
    sites = scopes.frn_sites(model)
    users = {_key(site.scope.function) for site in sites if site.scope.function is not None}
    _set_import(model, bool(sites))
    for function in model.functions:
        _set_import(function, _key(function) in users)


def _key(function: onnx.FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload


def _set_import(owner: onnx.ModelProto | onnx.FunctionProto, wanted: bool) -> None:
    present = [entry for entry in owner.opset_import if entry.domain == op.DOMAIN]
    if wanted and not present:
        owner.opset_import.add(domain=op.DOMAIN, version=op.VERSION)
    for entry in present:
        if wanted:
            entry.version = op.VERSION
        else:
            owner.opset_import.remove(entry)

"""FRN nodes as activations that ONNX Runtime's optimiser blocks along with the convolutions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import optional_inputs, sites
from frn_onnx.graph.edit import FreeNames, add_initializer, constant, remove_unused, take_over
from frn_onnx.graph.standard import is_standard
from frn_onnx.runtime.blocked import transposed

# An activation behind a Conv becomes part of it, and its alpha with it: that is the mark. Behind
# anything else only some activations are blocked, and keep their names. They must be of a type
# that the model has not got: two of the same tensor become one.
_FOLDED, KEPT = "LeakyRelu", ("Tanh", "Sigmoid")
# Alphas that nobody trains.
_FIRST_ALPHA = 1000


@dataclass(frozen=True)
class Standin:
    """An activation that is to be found again: by its alpha, or, where it has none, by its name."""

    name: str
    alpha: float | None


@dataclass(frozen=True)
class Mark:
    """An FRN node that activations stand for.

    Attributes:
        number: its place among the model's FRN nodes.
        name: of the node.
        standins: the activation of what it reads; four where that was a ConvTranspose.
        shield: what keeps a residual that comes out of a Conv from becoming part of that Conv.
        addition, threshold: names of the Add and Relu behind the stand-in, for an op with a
            residual, and a tau.
        sums: names of the three Add that put four stand-ins together, in front of a Resize.
        parameters: gamma, beta and what else there is of tau and epsilon.
        epsilon: the attribute.
    """

    number: int
    name: str
    standins: tuple[Standin, ...]
    parameters: dict[str, np.ndarray]
    epsilon: float
    shield: Standin | None = None
    addition: str | None = None
    threshold: str | None = None
    sums: tuple[str, ...] = ()


def put_in(model: ir.Model, block: int, without: Collection[int] = ()) -> list[Mark]:
    """Lets activations stand for the FRN nodes of a model that may be blocked, in place.

    They are those of the main graph that work on NCHW with constant parameters.

    Args:
        model: the model.
        block: how many channels are in a block.
        without: the places, among the model's FRN nodes, of those that are to stay.
    """
    for function in sites.frn_functions(model):
        del model.functions[function.identifier()]
    found = sites.frn_sites(model)
    optional_inputs.canonicalise(found)
    standins = _Standins(model)
    take_apart = sites.opset(model) >= transposed.OLDEST_OPSET
    marks: list[Mark] = []
    for number, site in enumerate(found):
        parameters = _parameters(site)
        blockable = site.scope.graph is model.graph and site.attributes()[0] == (2, 3)
        if number in without or not blockable or parameters is None:
            continue
        phases = transposed.phases(site) if take_apart else None
        if phases is not None and parameters["gamma"].size % block == 0:
            marks.append(standins.stand_in_for_phases(number, site, parameters, phases))
        elif standins.may_stand_for(site.node.inputs[0]):
            marks.append(standins.stand_in(number, site, parameters))
    return marks


def _parameters(site: sites.Site) -> dict[str, np.ndarray] | None:
    """The values of an FRN node's parameters; None unless all are constant and float32."""
    given = {name: constant(value) for name, value in site.parameters().items()}
    values = {
        name: tensor.numpy()
        for name, tensor in given.items()
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT
    }
    return values if len(values) == len(given) else None


class _Standins:
    """Makes activations that can be found again in one model."""

    def __init__(self, model: ir.Model) -> None:
        nodes = list(model.graph.all_nodes())
        for function in model.functions.values():
            nodes += function.all_nodes()
        types = {node.op_type for node in nodes}
        self._kept = next((name for name in KEPT if name not in types), None)
        self._alphas = {node.attributes.get_float("alpha", 0.0) for node in nodes}
        self._next = _FIRST_ALPHA
        self._names = FreeNames(model)
        self._stood: set[ir.Value] = set()

    def may_stand_for(self, x: ir.Value) -> bool:
        """Whether there is an activation of x that can be told from the model's own."""
        return _is_folded(x) or (self._kept is not None and x not in self._stood)

    def _activation(self, x: ir.Value, folded: bool) -> tuple[ir.Node, Standin]:
        alpha = self._alpha()
        title = self._names.free(f"frn_onnx_mark_{int(alpha)}")
        if folded:
            node = _node(_FOLDED, [x], title, alpha=alpha)
            return node, Standin(title, alpha)
        return _node(self._kept, [x], title), Standin(title, None)

    def _alpha(self) -> float:
        while self._next in self._alphas:
            self._next += 1
        self._next += 1
        return float(self._next - 1)

    def stand_in(self, number: int, site: sites.Site, parameters: dict[str, np.ndarray]) -> Mark:
        """Puts an activation, and perhaps an Add and a Relu, in the place of an FRN node."""
        frn = site.node
        activation, standin = self._activation(frn.inputs[0], _is_folded(frn.inputs[0]))
        self._stood.add(frn.inputs[0])
        new, shield, addition, threshold = [activation], None, None, None
        if frn.op_type == op.RESIDUAL_OP_TYPE:
            residual = frn.inputs[1]
            if _is_folded(residual):
                node, shield = self._activation(residual, folded=True)
                new.append(node)
                residual = node.outputs[0]
            addition = f"{standin.name}/Add"
            new.append(_node("Add", [activation.outputs[0], residual], addition))
            if "tau" in parameters:
                threshold = f"{standin.name}/Relu"
                new.append(_node("Relu", [new[-1].outputs[0]], threshold))
        _, epsilon = site.attributes()
        name = frn.name or standin.name
        _replace(frn, new)
        return Mark(number, name, (standin,), parameters, epsilon, shield, addition, threshold)

    def stand_in_for_phases(
        self,
        number: int,
        site: sites.Site,
        parameters: dict[str, np.ndarray],
        phases: transposed.Phases,
    ) -> Mark:
        """Puts four convolutions with activations in the place of a ConvTranspose and its FRN."""
        frn = site.node
        title = self._names.free(f"frn_onnx_phases_{number}")
        convs = transposed.put_in(phases, self._names, title)
        made = [self._activation(x, folded=True) for x in convs]
        new = [node for node, _ in made]
        a, b, c, d = (node.outputs[0] for node in new)
        sums = [_node("Add", pair, f"{title}/Add_{i}") for i, pair in enumerate(((a, b), (c, d)))]
        sums.append(_node("Add", [node.outputs[0] for node in sums], f"{title}/Add_2"))
        twice = np.array([1, 1, 2, 2], np.float32)
        scales = add_initializer(frn.graph, self._names.free(f"{title}/scales"), twice)
        # Of all kinds of Resize, this one is blocked.
        modes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        resize = _node("Resize", [sums[-1].outputs[0], None, scales], f"{title}/Resize", **modes)
        _, epsilon = site.attributes()
        name = frn.name or title
        _replace(frn, [*new, *sums, resize])
        return Mark(
            number,
            name,
            tuple(standin for _, standin in made),
            parameters,
            epsilon,
            sums=tuple(node.name for node in sums),
        )


def _replace(frn: ir.Node, new: list[ir.Node]) -> None:
    """Puts nodes in the place of an FRN node, the last one's output in the place of its own."""
    frn.graph.insert_before(frn, new)
    take_over(frn.outputs[0], new[-1].outputs[0])
    old = [value for value in frn.inputs if value is not None]
    frn.graph.remove(frn, safe=True)
    for value in old:
        remove_unused(value)


def _node(
    op_type: str, inputs: Sequence[ir.Value | None], name: str, **attributes: float | str
) -> ir.Node:
    node = ir.node(op_type, inputs, attributes, name=name)
    node.outputs[0].name = f"{name}_output"
    return node


def _is_folded(x: ir.Value) -> bool:
    """Whether an activation of x becomes part of the Conv in front of it."""
    alone = len(x.uses()) == 1 and not x.is_graph_output()
    return is_standard(x.producer(), "Conv") and alone

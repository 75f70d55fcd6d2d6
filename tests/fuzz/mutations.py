"""Changes to a graph: operands misaligned, other constants, ops and axes, nodes in and out."""

from random import Random

import numpy as np
from onnx import TensorProto

from fuzz.arithmetic import BOOL, FLOATS, INT, Invalid, Node, Value
from fuzz.graphs import Graph

# Ops that take each other's place.
_SIBLINGS = (
    ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"),
    ("Sqrt", "Reciprocal", "Abs", "Neg", "Relu", "Identity", "Exp", "Sigmoid"),
    ("ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceMax"),
    ("Greater", "Less", "GreaterOrEqual", "LessOrEqual"),
    ("AveragePool", "LpPool"),
    ("GlobalAveragePool", "GlobalLpPool"),
)


def mutate(graph: Graph, random: Random) -> Graph:
    """A graph with one more change; the same graph where no change was valid."""
    for _ in range(8):
        changed = graph.copy()
        try:
            random.choice(_CHANGES)(changed, random)
            changed.refresh()
        except (Invalid, IndexError, ValueError):
            continue
        return changed
    return graph


def _floats(graph: Graph, before: int | None = None) -> list[str]:
    """The float tensors that the nodes before a place have."""
    made = {node.output for node in graph.nodes[:before]}
    return [
        name
        for name, value in graph.values.items()
        if value.type in FLOATS and (name == "x" or name in made)
    ]


def _insert(graph: Graph, place: int, op: str, inputs: list[str], **attributes) -> str:
    node = Node(op, inputs, graph.name(op), attributes)
    graph.nodes.insert(place, node)
    return node.output


def _int_constant(graph: Graph, values) -> str:
    return graph.constant(np.array(values, np.int64))


def _pick(graph: Graph, random: Random) -> tuple[int, int, str]:
    """A place in the graph: a node's position, one of its inputs, and the tensor there."""
    place = random.randrange(len(graph.nodes))
    node = graph.nodes[place]
    index = random.randrange(len(node.inputs))
    return place, index, node.inputs[index]


def _rewire(graph: Graph, random: Random) -> None:
    """Another tensor for an input."""
    place, index, _ = _pick(graph, random)
    names = _floats(graph, place) + [
        name for name, c in graph.constants.items() if c.type in FLOATS
    ]
    graph.nodes[place].inputs[index] = random.choice(names)


def _exchange(graph: Graph, random: Random) -> None:
    node = random.choice([node for node in graph.nodes if len(node.inputs) > 1])
    i, j = random.sample(range(len(node.inputs)), 2)
    node.inputs[i], node.inputs[j] = node.inputs[j], node.inputs[i]


def _exchange_two(graph: Graph, random: Random) -> None:
    """Inputs of two nodes exchanged."""
    (a, i, _), (b, j, _) = _pick(graph, random), _pick(graph, random)
    first, second = graph.nodes[a].inputs, graph.nodes[b].inputs
    first[i], second[j] = second[j], first[i]


def _other_op(graph: Graph, random: Random) -> None:
    node = random.choice(graph.nodes)
    node.op = random.choice([op for group in _SIBLINGS if node.op in group for op in group])


def _drop(graph: Graph, random: Random) -> None:
    """A node left out: what needs it takes one of its inputs."""
    node = random.choice(graph.nodes)
    source = random.choice(node.inputs)
    _replace(graph, node.output, source, 0)
    graph.outputs = [source if name == node.output else name for name in graph.outputs]
    if "x" in graph.outputs:
        raise Invalid("nothing is left")


def _replace(graph: Graph, old: str, new: str, since: int) -> None:
    for node in graph.nodes[since:]:
        node.inputs = [new if name == old else name for name in node.inputs]


def _constant_values(graph: Graph, random: Random) -> None:
    name = random.choice([n for n, c in graph.constants.items() if c.type in FLOATS])
    array = graph.constants[name].array
    way = random.choice(["sign", "signs", "zero", "zeros", "scale", "each", "set"])
    if way == "sign":
        array = -array
    elif way == "signs":
        array = array * np.array([random.choice((-1, 1)) for _ in range(array.size)]).reshape(
            array.shape
        )
    elif way == "zero":
        array = array * 0
    elif way == "zeros":
        array = array * (np.arange(array.size).reshape(array.shape) % 2)
    elif way == "scale":
        array = array * random.choice((0.5, 2.0, 1.01, -3.0))
    elif way == "each":
        array = array + 0.1 * np.arange(array.size).reshape(array.shape)
    else:
        array = np.full_like(array, random.choice((1, 2, -0.5, 0.5, -1, 3)))
    graph.constants[name] = Value(array, graph.constants[name].type)


def _constant_shape(graph: Graph, random: Random) -> None:
    """A constant along another axis, with more or fewer axes, or along several."""
    name = random.choice([n for n, c in graph.constants.items() if c.type in FLOATS])
    array, kind = graph.constants[name].array, graph.constants[name].type
    way = random.choice(["front", "back", "move", "grow", "grow", "flat", "first"])
    if way == "front":
        array = array[None]
    elif way == "back":
        array = array[..., None]
    elif way == "move" and array.ndim > 1:
        array = array.transpose(random.sample(range(array.ndim), array.ndim))
    elif way == "grow" and array.ndim:
        axis = random.randrange(array.ndim)
        count = random.choice((*graph.shape, 2))
        array = np.repeat(array.take([0], axis), count, axis)
        if random.random() < 0.5:
            array = array + np.arange(count).reshape((-1,) + (1,) * (array.ndim - axis - 1))
    elif way == "flat":
        array = array.reshape(-1)
    else:
        array = array.reshape(-1)[0]
    graph.constants[name] = Value(np.asarray(array), kind)


def _integers(graph: Graph, random: Random) -> None:
    """Another axis, index or size in an integer constant."""
    name = random.choice([n for n, c in graph.constants.items() if c.type == INT])
    array = graph.constants[name].array.copy()
    flat = array.reshape(-1)
    way = random.choice(["one", "one", "twice", "less", "more", "none"])
    if array.ndim == 0 or way == "one":
        flat[random.randrange(flat.size)] = random.randint(-3, 4)
    elif way == "twice" and flat.size > 1:
        flat[0] = flat[-1]
    elif way == "less":
        array = flat[1:]
    elif way == "more":
        array = np.append(flat, random.randint(-4, 4))
    else:
        array = flat[:0]
    graph.constants[name] = Value(array, INT)


def _attribute(graph: Graph, random: Random) -> None:
    node = random.choice(graph.nodes)
    if node.op.startswith("Reduce"):
        extra = ["keepdims"] + (["noop_with_empty_axes"] if graph.opset >= 18 else [])
        name = random.choice([*extra, *node.attributes])
    elif node.op == "Reshape":
        name = "allowzero" if graph.opset >= 14 else "none"
    else:
        name = random.choice(list(node.attributes))
    value = node.attributes.get(name)
    if name in ("keepdims", "noop_with_empty_axes", "allowzero"):
        default = 1 if name == "keepdims" else 0
        node.attributes[name] = 1 - node.attributes.get(name, default)
    elif name == "perm":
        node.attributes[name] = random.sample(value, len(value))
    elif name == "axes":
        axes = list(value)
        axes[random.randrange(len(axes))] = random.randint(-2, 4)
        node.attributes[name] = random.choice([axes, axes[1:] or axes, [*value, 0]])
    elif name == "equation":
        left = [random.choice("abcdef"[: len(graph.shape) + 1]) for _ in graph.shape]
        node.attributes[name] = f"{value[: len(left)]},{''.join(left)}->{value[-len(left) :]}"
    elif isinstance(value, int):
        node.attributes[name] = value + random.choice((-1, 1))
    elif isinstance(value, list):
        node.attributes[name] = [size + random.choice((0, 0, -1)) for size in value]
    else:
        raise Invalid("no such attribute")


# Nodes put onto the way from one node to another.


def _wrap(graph: Graph, random: Random) -> None:
    """Something done to one input of one node, or to all that is made of a tensor."""
    place, index, name = _pick(graph, random)
    value = graph.values[name]
    if value.type not in FLOATS:
        raise Invalid("not a float")
    made, count = random.choice(_WRAPS)(graph, random, place, name)
    if random.random() < 0.3:
        _replace(graph, name, made, place + count)
    else:
        graph.nodes[place + count].inputs[index] = made


def _transposed(graph, random, place, name):
    rank = graph.array(name).ndim
    perm = random.sample(range(rank), rank)
    made = _insert(graph, place, "Transpose", [name], perm=perm)
    if random.random() < 0.4:
        back = [int(axis) for axis in np.argsort(perm)]
        back = back if random.random() < 0.7 else perm
        return _insert(graph, place + 1, "Transpose", [made], perm=back), 2
    return made, 1


def _reshaped(graph, random, place, name):
    shape = list(graph.array(name).shape)
    way = random.choice(["merge", "merge", "ones", "swap", "zeros", "back"])
    if way == "merge" and len(shape) > 1:
        i = random.randrange(len(shape) - 1)
        shape[i : i + 2] = [random.choice((-1, shape[i] * shape[i + 1]))]
    elif way == "ones":
        shape.insert(random.randrange(len(shape) + 1), 1)
    elif way == "swap":
        random.shuffle(shape)
    elif way == "zeros":
        shape = [0 for _ in shape]
    elif shape:
        i = random.randrange(len(shape))
        shape = [*shape[:i], -1, *shape[i + 1 :]]
    made = _insert(graph, place, "Reshape", [name, _int_constant(graph, shape)])
    if random.random() < 0.5:
        old = _int_constant(graph, list(graph.array(name).shape))
        return _insert(graph, place + 1, "Reshape", [made, old]), 2
    return made, 1


def _unsqueezed(graph, random, place, name):
    axis = random.randint(0, graph.array(name).ndim)
    return _axis_node(graph, place, "Unsqueeze", name, [axis]), 1


def _squeezed(graph, random, place, name):
    ones = [axis for axis, size in enumerate(graph.array(name).shape) if size == 1]
    if not ones or random.random() < 0.2:
        return _insert(graph, place, "Squeeze", [name]), 1
    return _axis_node(graph, place, "Squeeze", name, [random.choice(ones)]), 1


def _axis_node(graph, place, op, name, axes):
    if graph.opset >= 13:
        return _insert(graph, place, op, [name, _int_constant(graph, axes)])
    return _insert(graph, place, op, [name], axes=axes)


def _expanded(graph, random, place, name):
    shape = [
        size if size > 1 else random.choice((1, *graph.shape)) for size in graph.array(name).shape
    ]
    if random.random() < 0.3:
        shape.insert(0, random.choice((1, 2)))
    if random.random() < 0.4:
        source = random.choice(_floats(graph, place))
        target = _insert(graph, place, "Shape", [source])
        return _insert(graph, place + 1, "Expand", [name, target]), 2
    return _insert(graph, place, "Expand", [name, _int_constant(graph, shape)]), 1


def _flattened(graph, random, place, name):
    axis = random.randint(0, graph.array(name).ndim)
    return _insert(graph, place, "Flatten", [name], axis=axis), 1


def _taken(graph, random, place, name):
    """One index, or one in front of all, of an axis."""
    axis = random.randrange(graph.array(name).ndim)
    index = _int_constant(graph, random.choice((0, [0], [0, 0])))
    return _insert(graph, place, "Gather", [name, index], axis=axis), 1


def _unary(graph, random, place, name):
    op = random.choice(("Abs", "Neg", "Relu", "Sqrt", "Identity", "Reciprocal", "Sigmoid"))
    return _insert(graph, place, op, [name]), 1


def _rooted_square(graph, random, place, name):
    """sqrt(v * v), which is the absolute value."""
    square = _insert(graph, place, "Mul", [name, name])
    return _insert(graph, place + 1, "Sqrt", [square]), 2


def _with_number(graph, random, place, name):
    op = random.choice(("Mul", "Add", "Max", "Div", "Sub", "Pow", "Min"))
    number = graph.constant(np.asarray(random.choice((0, 1, 2, -1, 0.5, -0.3, 0.1))))
    inputs = [name, number]
    return _insert(graph, place, op, inputs[:: random.choice((1, 1, -1))]), 1


def _cast(graph, random, place, name):
    to = random.choice((TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, INT))
    made = _insert(graph, place, "Cast", [name], to=to)
    return _insert(graph, place + 1, "Cast", [made], to=graph.values[name].type), 2


def _chosen(graph, random, place, name):
    """where(v > c, v or c, c or v)."""
    other = graph.constant(np.asarray(random.choice((0.0, 0.3, -0.5))))
    condition = _insert(graph, place, random.choice(("Greater", "Less")), [name, other])
    branches = random.sample([name, other], 2)
    return _insert(graph, place + 1, "Where", [condition, *branches]), 2


def _with_itself(graph, random, place, name):
    """A product or sum with itself, one of them with its axes in other places."""
    rank = graph.array(name).ndim
    way = random.choice(["transpose", "outer", "reshape"])
    if way == "transpose":
        perm = random.sample(range(rank), rank)
        other, count = _insert(graph, place, "Transpose", [name], perm=perm), 1
        first = name
    elif way == "outer":
        first = _axis_node(graph, place, "Unsqueeze", name, [random.randint(0, rank)])
        other = _axis_node(graph, place + 1, "Unsqueeze", name, [random.randint(0, rank)])
        count = 2
    else:
        shape = list(graph.array(name).shape)
        random.shuffle(shape)
        first, count = name, 1
        other = _insert(graph, place, "Reshape", [name, _int_constant(graph, shape)])
    op = random.choice(("Mul", "Mul", "Add"))
    return _insert(graph, place + count, op, [first, other]), count + 1


_WRAPS = (
    *(_transposed, _reshaped, _unsqueezed, _squeezed, _expanded, _flattened, _taken),
    *(_unary, _rooted_square, _with_number, _cast, _chosen, _with_itself, _with_itself),
)


def _misaligned_square(graph: Graph, random: Random) -> None:
    """A square, one factor of which has its axes elsewhere; what follows averages over more."""
    squares = [i for i, n in enumerate(graph.nodes) if n.op == "Mul" and n.inputs[0] == n.inputs[1]]
    place = random.choice(squares)
    node = graph.nodes[place]
    name, rank = node.inputs[0], graph.array(node.inputs[0]).ndim
    if random.random() < 0.5:
        perm = random.sample(range(rank), rank)
        node.inputs[1] = _insert(graph, place, "Transpose", [name], perm=perm)
        return
    i, j = random.sample(range(1, rank + 1), 2)
    node.inputs[0] = _axis_node(graph, place, "Unsqueeze", name, [i])
    node.inputs[1] = _axis_node(graph, place + 1, "Unsqueeze", name, [j])
    for reduction in graph.nodes[place + 3 :]:
        if reduction.op.startswith("Reduce"):
            axes = reduction.attributes.get("axes")
            if axes is None:
                axes = graph.constants[reduction.inputs[1]].array.tolist()
            axes = [axis % rank for axis in axes]
            more = sorted({axis + (axis >= min(i, j)) for axis in axes} | {i, j})
            if "axes" in reduction.attributes:
                reduction.attributes["axes"] = more
            else:
                reduction.inputs[1] = _int_constant(graph, more)
            # Back to the rank of x.
            if reduction.attributes.get("keepdims", 1) and random.random() < 0.9:
                after = graph.nodes.index(reduction) + 1
                made = _axis_node(graph, after, "Squeeze", reduction.output, [i])
                _replace(graph, reduction.output, made, after + 1)
            return


def _second_output(graph: Graph, random: Random) -> None:
    """Something else needs a tensor in between."""
    name = random.choice(graph.nodes).output
    if name not in graph.outputs and graph.values[name].type != BOOL:
        graph.outputs.append(name)


_CHANGES = (
    *(_rewire, _exchange, _exchange_two, _other_op, _drop, _second_output),
    *(_constant_values, _constant_values, _constant_shape, _constant_shape, _integers),
    *(_attribute, _attribute, _wrap, _wrap, _wrap, _wrap, _misaligned_square),
)

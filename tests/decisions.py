"""Networks whose outputs are decided, not computed: what jumps where two values are close."""

import numpy as np
import onnx
from onnx import numpy_helper, parser

from frn_onnx.graph import fuse

# From c, the output of a convolution, to f, as exporters write it.
FRN = """
  s{i} = Mul (c{i}, c{i})
  n{i} = ReduceMean (s{i}, axes)
  e{i} = Add (n{i}, epsilon)
  r{i} = Sqrt (e{i})
  d{i} = Div (c{i}, r{i})
  g{i} = Mul (gamma{i}, d{i})
  b{i} = Add (g{i}, beta{i})
  f{i} = Max (b{i}, tau{i})
"""

BODY = """
<ir_version: 8, opset_import: ["": 18]>
decisions (float[N, 3, H, W] image) => ({outputs})
{{
  axes = Constant <value_ints = [2, 3]> ()
  c1 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (image, w1)
  {frn1}
  c2 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (f1, w2)
  {frn2}
  y = Conv <kernel_shape = [1,1]> (f2, w3)
  {head}
}}
"""

# Each ends in one output, from y (N, 8, H, W).
HEADS = {
    "argmax": ("int64[N, H, W] out", "out = ArgMax <axis = 1, keepdims = 0> (y)"),
    "uint8": (
        "uint8[N, 8, H, W] out",
        """p = Sigmoid (y) most = Constant <value_float = 255.0> () q = Mul (p, most)
        r = Round (q) out = Cast <to = 2> (r)""",
    ),
    "mask": ("bool[N, 8, H, W] out", "z = Constant <value_float = 0.3> () out = Greater (y, z)"),
    "rounded": (
        "float[N, 8, H, W] out",
        """most = Constant <value_float = 32.0> () q = Mul (y, most) r = Round (q)
        out = Div (r, most)""",
    ),
    "switched": (
        "float[N, 8, H, W] out",
        """z = Constant <value_float = 0.3> () m = Greater (y, z) far = Neg (y)
        out = Where (m, y, far)""",
    ),
    "one hot": ("float[N, 8, H, W] out", "out = Hardmax <axis = 1> (y)"),
    "sorted": (
        "int64[N, 8, H, W] out",
        "k = Constant <value_ints = [8]> () v, out = TopK <axis = 1> (y, k)",
    ),
    "places": (
        "int64[rank, M] out",
        """z = Constant <value_float = 2.5> () m = Greater (y, z) out = NonZero (m)""",
    ),
    "smooth": ("float[N, 8, H, W] out", "out = Tanh (y)"),
}


def network(head: str, seed: int, width: int = 8) -> onnx.ModelProto:
    """FRN as an exporter writes it, out of random parameters, and one of the heads."""
    rng = np.random.default_rng(seed)
    output, nodes = HEADS[head]
    model = parser.parse_model(
        BODY.format(outputs=output, head=nodes, frn1=FRN.format(i=1), frn2=FRN.format(i=2))
    )
    arrays = {
        "w1": rng.normal(size=(width, 3, 3, 3)) / 27**0.5,
        "w2": rng.normal(size=(width, width, 3, 3)) / (9 * width) ** 0.5,
        "w3": rng.normal(size=(8, width, 1, 1)) / width**0.5,
    }
    for i in "12":
        for name, mean in (("gamma", 1.0), ("beta", 0.0), ("tau", -1.0)):
            arrays[f"{name}{i}"] = rng.normal(mean, 0.5, size=(1, width, 1, 1))
    for name, array in {**arrays, "epsilon": np.float32(1e-4)}.items():
        tensor = numpy_helper.from_array(np.asarray(array, np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def from_integers(dtype: str, nodes: str, seed: int) -> onnx.ModelProto:
    """The network with bytes out, from bytes or numbers of places by the nodes."""
    model = network("uint8", seed)
    text = f"""
      <ir_version: 8, opset_import: ["": 18]>
      first ({dtype}[N, 3, H, W] bytes) => (float[N, 3, H, W] image)
      {{ {nodes} }}"""
    first = parser.parse_model(text)
    for node in reversed(first.graph.node):
        model.graph.node.insert(0, node)
    model.graph.input[0].CopyFrom(first.graph.input[0])
    table = np.random.default_rng(seed).normal(size=300)
    for name, array in {
        "step": np.float32(0.02),
        "zero": np.uint8(128),
        "table": table.astype(np.float32),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function, in another order of operations."""
    result = fuse(model)
    assert len(result.fused) == 2
    return result.model


def changed(
    model: onnx.ModelProto, name: str, factor: float, channel: int | slice = 1
) -> onnx.ModelProto:
    """Another function: one channel of one parameter is off."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[channel] *= factor
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy

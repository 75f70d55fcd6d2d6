"""Small models with FRN nodes for the tests of frn_onnx.graph, written as text."""

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

from frn_onnx import op
from frn_onnx.graph import protos

# Two convolutions with FRN, one with a threshold and one without, and a classifier.
CNN = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
cnn (float[N, 3, H, W] image) => (float[N, 5] scores)
<float[8,3,3,3] w1, float[8,1,1] gamma1, float[8,1,1] beta1, float[8,1,1] tau1,
 float[8,8,3,3] w2, float[8,1,1] gamma2, float[8,1,1] beta2, float[8,5] w3>
{
  [conv1] c1 = Conv <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (image, w1)
  [frn1] f1 = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.1>
    (c1, gamma1, beta1, tau1)
  [conv2] c2 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (f1, w2)
  [frn2] f2 = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.2>
    (c2, gamma2, beta2)
  [add] s = Add (f1, f2)
  [pool] p = GlobalAveragePool (s)
  [flatten] l = Flatten (p)
  [dense] scores = MatMul (l, w3)
}
"""

# FRN with every combination of optional inputs, in the main graph, a subgraph and a function.
EVERYWHERE = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "local": 1, "other": 3],
 producer_name: "me", model_version: 7, doc_string: "about", metadata_props: ["k": "v"]>
main (float[N,3,H,W] x, bool c)
  => (float[N,3,H,W] a, float[N,3,H,W] b, float[N,3,H,W] d, float[N,3,H,W] y, float[N,3,H,W] z)
<float[3,1,1] p, float[3,1,1] q, float[3,1,1] r, float[3,1,1] epsilon>
{
  [one] a = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.1> (x, p, q, r)
  [two] b = frn_onnx.FilterResponseNormalization <axes = [-1,-2]> (a, q, p)
  [three] d = frn_onnx.FilterResponseNormalization <axes = [2,3]> (b, q, p, "", epsilon)
  [if] y = If (c) <
    then_branch = yes () => (float[N,3,H,W] t) {
      [four] t = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.3> (d, r, p, q)
    },
    else_branch = no () => (float[N,3,H,W] e) { e = Neg (d) }>
  [call] z = local.Block (d, r, p)
}
<domain: "local", opset_import: ["": 18, "frn_onnx": 1]>
Block (x, g, b) => (y) {
  h = Relu (x)
  [five] y = frn_onnx.FilterResponseNormalization <axes = [2,3]> (h, g, b)
}
"""
# What ONNX Runtime makes of an FRN behind a convolution, and of x scaled.
BLOCKED = """
<ir_version: 8, opset_import: ["": 17, "com.microsoft.nchwc": 1]>
blocked (float[N,8,H,W] image) => (float[N,8,H,W] y, float[N,8,H,W] scaled)
<float[8,1,1,1] gamma, float epsilon>
{
  b = com.microsoft.nchwc.ReorderInput (image)
  q = Mul (b, b)
  g = com.microsoft.nchwc.Conv <group = 8> (b, gamma)
  scaled = com.microsoft.nchwc.ReorderOutput <channels = 8> (g)
  square = com.microsoft.nchwc.ReorderOutput <channels = 8> (q)
  nu2 = ReduceMean <axes = [2, 3]> (square)
  shifted = Add (nu2, epsilon)
  root = Sqrt (shifted)
  x = com.microsoft.nchwc.ReorderOutput <channels = 8> (b)
  y = Div (x, root)
}
"""
ONE_NODE = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
one (float[N,H,W,3] x) => (float[N,H,W,3] y) <float[3] gamma, float[3] beta, float[3] tau>
{ [only] y = frn_onnx.FilterResponseNormalization <axes = [1,2]> (x, gamma, beta, tau) }
"""


def parse(text: str, rng: np.random.Generator, *, dtype: str = "float") -> onnx.ModelProto:
    """A model from text; every value declared without a producer is a random initializer.

    Args:
        text: as onnx.parser takes it. ``float`` in it is replaced by ``dtype``. The name of a
            per-channel epsilon begins with "epsilon"; its values are positive.
    """
    model = parser.parse_model(text.replace("float[", f"{dtype}["))
    made = {name for node in model.graph.node for name in node.output}
    for value in list(model.graph.value_info):
        if value.name not in made:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            values = rng.normal(size=shape) * 2 / max(np.prod(shape[1:]), 1) ** 0.5 + 0.1
            if value.name.startswith("epsilon"):
                values = np.abs(values)
            type_ = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            model.graph.initializer.append(
                numpy_helper.from_array(values.astype(type_), value.name)
            )
            model.graph.value_info.remove(value)
    return model


def parameters(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The initializers by their names."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def frn_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Every FRN node: of the main graph, of subgraphs, of functions."""
    bodies = [*protos.graph_protos(model), *model.functions]
    return [node for body in bodies for node in body.node if op.is_frn(node)]


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without fields that are there and empty, which ``==`` tells apart."""
    return protos.to_proto(protos.from_proto(model))


def run(model: onnx.ModelProto, feeds: dict) -> list[np.ndarray]:
    """The outputs in ONNX Runtime, without the plugin."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, feeds)

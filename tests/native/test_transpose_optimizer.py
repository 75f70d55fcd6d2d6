"""What ONNX Runtime's transpose optimiser makes of FRN between channels-last convolutions.

With ``prefer_nhwc`` the CUDA provider runs convolutions in NHWC and puts a Transpose on each side
of every one. Convolutions are stood for here by MatMul over the last axis, which is a 1x1
convolution in NHWC and which the optimiser does not move Transposes through: so the CPU shows what
is left around FRN.
"""

import numpy as np
import onnx
import onnxruntime as ort
import ort_models
import tolerances
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op

SHAPE = (2, 6, 7, 8)  # NHWC
BLOCKS = 3
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def network(frn_layout: str) -> onnx.ModelProto:
    """Residual blocks y = Relu(x + FRN(conv(FRN(conv(x))))), NCHW outside of the convolutions.

    ``frn_layout="NHWC"`` has FRN in NHWC with a Transpose on each side, as an export with
    ``layout="NHWC"`` leaves them; "NCHW" has it as it is.
    """
    rng = np.random.default_rng(0)
    channels = SHAPE[3]
    nodes, weights = [], []

    def weight(values) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(values.astype(np.float64), name))
        return name

    def add(op_type: str, *inputs: str, **attributes) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def conv(x: str) -> str:
        """As the layout pass leaves a convolution of an NCHW graph."""
        x = add("Transpose", x, perm=TO_NHWC)
        x = add("MatMul", x, weight(rng.standard_normal((channels, channels)) / 3))
        return add("Transpose", x, perm=TO_NCHW)

    def frn(x: str) -> str:
        axes = (1, 2) if frn_layout == "NHWC" else (2, 3)
        shape = op.param_shape(axes, channels)
        params = [weight(rng.standard_normal(shape)) for _ in range(3)]
        if frn_layout == "NHWC":
            x = add("Transpose", x, perm=TO_NHWC)
        name = f"v{len(nodes)}"
        nodes.append(op.node([x, *params], name, axes=axes, name=name))
        return add("Transpose", name, perm=TO_NCHW) if frn_layout == "NHWC" else name

    x = add("Transpose", "X", perm=TO_NCHW)
    for _ in range(BLOCKS):
        x = add("Relu", add("Add", x, frn(conv(frn(conv(x))))))
    nodes.append(helper.make_node("Transpose", [x], ["Y"], perm=TO_NHWC))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("X", TensorProto.DOUBLE, SHAPE)],
        [helper.make_tensor_value_info("Y", TensorProto.DOUBLE, SHAPE)],
        weights,
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(op.DOMAIN, op.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def optimised_kinds(model: onnx.ModelProto, path) -> list[str]:
    """The op types of the graph that ONNX Runtime runs."""
    ort_models.session(model, optimized_model_filepath=str(path))
    return [node.op_type for node in onnx.load(path).graph.node]


def test_around_nhwc_all_transposes_go(tmp_path):
    kinds = optimised_kinds(network("NHWC"), tmp_path / "optimised.onnx")
    assert kinds.count(op.OP_TYPE) == 2 * BLOCKS
    assert kinds.count("Transpose") == 0


def test_around_nchw_they_stay(tmp_path):
    """One on each side of each FRN: nodes of custom domains are not converted."""
    kinds = optimised_kinds(network("NCHW"), tmp_path / "optimised.onnx")
    assert kinds.count("Transpose") >= 2 * kinds.count(op.OP_TYPE) == 4 * BLOCKS


def test_both_layouts_compute_the_same(rng):
    """As they are, and optimised."""
    x = rng.standard_normal(SHAPE)
    results = [
        ort_models.session(network(layout), graph_optimization_level=level).run(None, {"X": x})[0]
        for layout in ("NHWC", "NCHW")
        for level in (
            ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
            ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        )
    ]
    largest = np.abs(results[0]).max()
    assert largest > 1
    for result in results[1:]:
        assert np.abs(result - results[0]).max() < largest * tolerances.FLOAT64_NETWORK_RTOL

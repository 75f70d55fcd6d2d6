"""How long fuse takes on models of 100, 1000 and 10000 nodes, and that it grows linearly.

The models are residual stacks of Conv + FRN + TLU, written as PyTorch and tf2onnx write them,
with dynamic batch, height and width. Every result is checked: the number of fused nodes, and that
nothing but Conv, Add and FRN nodes is left.

    python benchmarks/bench_fuse.py [--nodes 100 1000 10000] [--repeat 5]

measures CPU time, since fuse runs in one thread and other programs do not count, writes
results/fuse.json beside it, and prints a table.
"""

import argparse
import statistics
import time

import harness
import numpy as np
import onnx
import onnx_ir
from onnx import TensorProto, helper, numpy_helper

from frn_onnx.graph.fusion import fuse

CHANNELS = 16
# Conv, Pow, ReduceMean, Add, Sqrt, Div, Mul, Mul, Add, Max, and the residual Add.
NODES_PER_BLOCK = 11


def residual_stack(blocks: int) -> onnx.ModelProto:
    """A model of ``blocks`` blocks: y = x + TLU(FRN(conv(x)))."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(name: str, array) -> str:
        weights.append(numpy_helper.from_array(np.asarray(array, dtype=np.float32), name))
        return name

    def add(op_type: str, inputs: list[str], **attributes) -> str:
        output = f"v{len(nodes)}"
        nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    x = "x"
    one, two, epsilon = constant("one", 1), constant("two", 2), constant("epsilon", 1e-6)
    for block in range(blocks):
        kernel = constant(f"kernel{block}", rng.normal(size=(CHANNELS, CHANNELS, 3, 3)) * 0.05)
        gamma, beta, tau = (
            constant(f"{name}{block}", rng.normal(size=(1, CHANNELS, 1, 1)))
            for name in ("gamma", "beta", "tau")
        )
        conv = add("Conv", [x, kernel], pads=[1, 1, 1, 1])
        nu2 = add("ReduceMean", [add("Pow", [conv, two])], axes=[2, 3], keepdims=1)
        root = add("Sqrt", [add("Add", [nu2, epsilon])])
        normal = add("Mul", [conv, add("Div", [one, root])])
        affine = add("Add", [add("Mul", [gamma, normal]), beta])
        x = add("Add", [x, add("Max", [affine, tau])])
    shape = ["N", CHANNELS, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "residual_stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure(nodes: int, repeat: int) -> dict:
    """Times fuse on a model of about that many nodes."""
    blocks = max(nodes // NODES_PER_BLOCK, 1)
    model = residual_stack(blocks)
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        result = fuse(model, form="portable")
        seconds.append(time.process_time() - start)
        left = {node.op_type for node in result.model.graph.node}
        if len(result.fused) != blocks or left != {"Conv", "Add", "FilterResponseNormalization"}:
            raise SystemExit(f"fused {len(result.fused)} of {blocks}, left: {sorted(left)}")
    return {
        "nodes": len(model.graph.node),
        "fused": blocks,
        "median_s": statistics.median(seconds),
        "best_s": min(seconds),
        "spread_s": max(seconds) - min(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    machine = harness.machine()
    machine["versions"]["onnx_ir"] = onnx_ir.__version__
    measure(100, 1)  # imports and caches
    rows = [measure(nodes, options.repeat) for nodes in options.nodes]
    harness.write_json(harness.RESULTS / "fuse.json", {"machine": machine, "rows": rows})
    print("| nodes | FRN fused | CPU seconds (median) | µs per node |\n| --: | --: | --: | --: |")
    for row in rows:
        per_node = row["median_s"] / row["nodes"] * 1e6
        print(f"| {row['nodes']} | {row['fused']} | {row['median_s']:.3f} | {per_node:.0f} |")


if __name__ == "__main__":
    main()

"""Tools that people use on ONNX files, on portable ones. What each does is in docs/tools.md."""

import collections
from pathlib import Path

import graph_models
import numpy as np
import onnx
import onnx.compose
import onnx.utils
import onnx.version_converter
import pytest

from frn_onnx.errors import FrnWarning, ModelError
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.forms import form_of
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.lowering import lower

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Some of the tools leave files in the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def portable(rng):
    return lower(graph_models.parse(graph_models.CNN, rng), "portable")


@pytest.fixture
def path(portable, tmp_path):
    path = tmp_path / "portable.onnx"
    onnx.save(portable, path)
    return path


def check(model, original, form="portable"):
    """Valid, in the form, with both FRN nodes, and the same function."""
    onnx.checker.check_model(model, full_check=True)
    assert form_of(model) == form
    assert len(graph_models.frn_nodes(model)) == (0 if form == "primitives" else 2)
    runnable = lower(model, "portable") if form == "custom" else model
    assert verify(original, runnable).ok


def test_onnxsim(portable):
    onnxsim = pytest.importorskip("onnxsim")
    simplified, checked = onnxsim.simplify(portable)
    assert checked
    check(simplified, portable)


def test_onnxslim(portable):
    onnxslim = pytest.importorskip("onnxslim")
    check(onnxslim.slim(portable), portable)


def test_extract_model(portable, path, tmp_path):
    onnx.utils.extract_model(str(path), str(tmp_path / "part.onnx"), ["image"], ["scores"])
    check(onnx.load(tmp_path / "part.onnx"), portable)


@pytest.mark.parametrize("form", ["portable", "primitives"])
def test_symbolic_shape_inference(portable, form):
    pytest.importorskip("sympy")
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    model = lower(portable, form)
    # The strides of a residual network with open sizes ask for auto_merge in any form.
    inferred = SymbolicShapeInference.infer_shapes(model, auto_merge=True)
    known = {value.name: value.type.tensor_type for value in inferred.graph.value_info}
    for name in ("f1", "f2"):
        assert known[name].shape.dim[1].dim_value == 8
        assert len(known[name].shape.dim) == 4


def test_symbolic_shape_inference_stops_at_custom_files(portable):
    pytest.importorskip("sympy")
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    model = lower(portable, "custom")
    with pytest.raises(Exception, match="Incomplete symbolic shape inference"):
        SymbolicShapeInference.infer_shapes(model, auto_merge=True)
    SymbolicShapeInference.infer_shapes(model, auto_merge=True, guess_output_rank=True)


def test_the_version_converter_drops_functions(portable):
    converted = onnx.version_converter.convert_version(portable, 21)
    check(converted, portable, form="custom")
    restored = lower(converted, "portable")
    check(restored, portable)
    assert restored.functions[0].opset_import[0].version == 21


def test_merging_goes_by_custom_files(portable):
    """add_prefix renames the op with its function, and no kernel is called that."""
    renamed = onnx.compose.add_prefix(portable, "a_")
    with pytest.warns(FrnWarning, match="no FRN was found"):
        assert lower(renamed, "portable") == renamed
    custom = lower(portable, "custom")
    halves = [onnx.compose.add_prefix(custom, prefix) for prefix in ("a_", "b_")]
    merged = lower(onnx.compose.merge_models(*halves, io_map=[]), "portable")
    onnx.checker.check_model(merged, full_check=True)
    assert len(graph_models.frn_nodes(merged)) == 4


def optimised(model: onnx.ModelProto, folder: Path, level: str) -> onnx.ModelProto:
    """What ONNX Runtime writes to a file."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3  # that the file is made for this machine
    ort.InferenceSession(model.SerializeToString(), options)
    return onnx.load(options.optimized_model_filepath)


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_files_that_onnx_runtime_wrote(portable, tmp_path, level):
    """Its optimised models hold the body in place of the node; fuse puts the node back."""
    written = optimised(portable, tmp_path, level)
    check(written, portable, form="primitives")
    check(fuse(written).model, portable)


class Images:
    """Calibration data: eight random batches."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self._batches = [rng.normal(0.2, 1, (4, 3, 16, 12)).astype(np.float32) for _ in range(8)]

    def get_next(self):
        return {"image": self._batches.pop()} if self._batches else None


@pytest.mark.parametrize("preprocess", [False, True])
def test_static_quantisation(portable, path, tmp_path, preprocess):
    """End to end, in QDQ format: convolutions in 8 bits, FRN in float."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    source = path
    if preprocess:
        pytest.importorskip("sympy")
        source = tmp_path / "preprocessed.onnx"
        # Its optimisation would write the body in place of the nodes, as above.
        quantization.quant_pre_process(path, source, skip_optimization=True, auto_merge=True)
    target = tmp_path / "quantised.onnx"
    quantization.quantize_static(
        source,
        target,
        type("Reader", (Images, quantization.CalibrationDataReader), {})(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
    )
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    assert form_of(model) == "portable"
    ops = collections.Counter(node.op_type for node in model.graph.node)
    assert ops["QuantizeLinear"] >= 4
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in graph_models.frn_nodes(model):
        for name in node.input[1:]:
            assert constants[name].data_type == onnx.TensorProto.FLOAT
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert [makers[n].op_type for n in node.input[:2]] == ["DequantizeLinear"] * 2
    assert len(graph_models.frn_nodes(model)) == 2
    # Eight bits: one step is 1/255 of a tensor's range, and there are eight quantised tensors.
    output = verify(portable, model, samples=2).outputs[0]
    assert 1e-5 < output.max_rel < 8 / 255
    check(fuse(model).model, model)


def test_plain_float16_tools_need_custom_files(portable):
    """They do not convert a function's body; frn_onnx.graph.convert does all of it."""
    pytest.importorskip("onnxruntime.transformers")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(lower(portable, "portable"), keep_io_types=True)
    with pytest.raises(ModelError, match="ONNX Runtime does not take the model"):
        verify(portable, half)
    half = convert_float_to_float16(lower(portable, "custom"), keep_io_types=True)
    assert verify(portable, lower(half, "portable")).ok

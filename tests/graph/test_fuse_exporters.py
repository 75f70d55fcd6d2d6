"""Every form of FRN in the files of other exporters is fused, and no near miss.

The files are made by the scripts beside them; ``tests/envs/test_exporters.py`` makes them anew.
"""

import exporter_files
import onnx
import onnxruntime as ort
import pytest

FILES = sorted(exporter_files.FOLDER.glob("*.onnx"))
FLOAT32 = [path for path in FILES if "float16" not in path.name]
LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}


def stem(path):
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_file(path):
    assert path.stat().st_size < 200_000
    exporter_files.check(onnx.load(path))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("path", FLOAT32, ids=stem)
def test_optimised_by_onnx_runtime(path, level, tmp_path):
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimised.onnx")
    names = next(p.value for p in onnx.load(path).metadata_props if p.key == "forms")
    onnx.helper.set_model_props(model, {"forms": names})
    exporter_files.check(model)


@pytest.mark.parametrize("statistic", ["float16", "float32"])
@pytest.mark.parametrize("path", [p for p in FLOAT32 if p.name.startswith("torch")], ids=stem)
def test_made_float16_by_onnx_runtime(path, statistic):
    """ONNX Runtime's own tool, with and without the statistic kept in float32."""
    from onnxruntime.transformers import float16

    blocked = [*float16.DEFAULT_OP_BLOCK_LIST]
    if statistic == "float32":
        blocked += ["Pow", "ReduceMean", "GlobalAveragePool"]
    model = float16.convert_float_to_float16(
        onnx.load(path), keep_io_types=True, op_block_list=blocked
    )
    exporter_files.check(model)

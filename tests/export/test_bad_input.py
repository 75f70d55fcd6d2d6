"""What cannot be exported is refused with a reason and a cure, early, and nothing is written."""

import re
import subprocess
import sys

import export_cases
import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tensorflow as tf

from frn_onnx import op
from frn_onnx.errors import (
    ArgumentError,
    DependencyError,
    ExportError,
    ModelError,
    ShapeError,
    VerificationError,
)
from frn_onnx.export import api, conversion, export, export_model, verification
from frn_onnx.export.trace import brief
from frn_onnx.layers import FilterResponseNormalization

BEFORE = b"what was there before"


@pytest.fixture
def untouched(tmp_path):
    """An output that exists already, and must be the same after the test."""
    path = tmp_path / "model.onnx"
    path.write_bytes(BEFORE)
    yield path
    assert path.read_bytes() == BEFORE
    assert [p.name for p in tmp_path.iterdir() if p.suffix not in (".keras", ".h5")] == [path.name]


@pytest.fixture
def no_work(monkeypatch):
    """Fails where the expensive part is begun."""

    def begun(*args, **kwargs):
        raise AssertionError("the conversion was begun")

    monkeypatch.setattr(conversion, "to_onnx", begun)
    monkeypatch.setattr(api, "load", begun)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("opset", [12, conversion.NEWEST_OPSET + 1, -1, "18", 18.0, True])
def test_an_opset_out_of_range(resnet, untouched, opset):
    expected = (
        f"opset must be from 13 to {conversion.NEWEST_OPSET}, the newest.* received {opset!r}"
    )
    with pytest.raises(ArgumentError, match=expected):
        export(resnet, untouched, opset=opset)


def test_what_keras_writes_for_a_terminal_is_plain():
    assert brief(ValueError("\x1b[1mNo\x1b[0m\n  sizes.")) == "No sizes."


def test_an_opset_of_numpys():
    assert type(conversion.checked_opset(np.int64(18))) is int


@pytest.mark.usefixtures("no_work")
def test_a_form_or_a_layout_that_is_none(resnet, untouched):
    with pytest.raises(ArgumentError, match="portable, custom, primitives, received 'fused'"):
        export(resnet, untouched, form="fused")
    with pytest.raises(ArgumentError, match="layout must be one of auto, NCHW, NHWC, received 'n"):
        export(resnet, untouched, layout="nchw")
    with pytest.raises(
        ArgumentError, match=r"dtype must be None or 'float16', received 'bfloat16'\. ONNX"
    ):
        export(resnet, untouched, dtype="bfloat16")


@pytest.mark.usefixtures("no_work")
def test_an_output_that_cannot_be_written(resnet, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"folder .*missing does not exist; create it first"):
        export(resnet, tmp_path / "missing" / "model.onnx")
    with pytest.raises(ModelError, match="expected the path of a file to write, this is a folder"):
        export(resnet, tmp_path)
    monkeypatch.setattr(api.model_io.os, "access", lambda path, mode: False)
    with pytest.raises(ModelError, match="no permission to write to the folder"):
        export(resnet, tmp_path / "model.onnx")


@pytest.mark.usefixtures("no_work")
def test_an_output_that_is_the_input(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(BEFORE)
    with pytest.raises(ModelError, match="would overwrite the input"):
        export(path, path)


@pytest.mark.usefixtures("no_work")
def test_no_runtime_to_verify_with(resnet, untouched, monkeypatch):
    monkeypatch.setattr(verification.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"onnxruntime.*pip install 'frn_onnx\[cpu\]'"):
        export(resnet, untouched)


def test_a_file_that_is_missing(untouched):
    with pytest.raises(ModelError, match=r"no file or folder 'missing\.keras'"):
        export("missing.keras", untouched)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.pb", "model.tflite"])
@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 but no archive"])
def test_a_file_that_is_no_model(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(f"{name}' is not a Keras model: expected a")):
        export(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"This file is empty \(0 bytes\); copy or download it again"),
        (b"PK\x03\x04 but no archive", "This file is damaged: it begins as a zip archive, and its"),
        (b"not a model", "An ONNX file is what"),
    ],
)
def test_a_file_that_is_damaged(tmp_path, content, message):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        export(path)


def test_an_onnx_file(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 18]> g (float[1] x) => (float[1] y) { y = Neg(x) }'
        ),
        path,
    )
    with pytest.raises(ModelError, match=r"An ONNX file is what frn_onnx\.fuse takes"):
        export(path)


def test_a_truncated_file(resnet, tmp_path):
    resnet.save(tmp_path / "whole.keras")
    content = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ModelError, match=r"cut\.keras' is not a Keras model.* damaged.*download it again"
    ):
        export(tmp_path / "cut.keras")
    resnet.save(tmp_path / "whole.h5")
    content = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"cut\.h5' cannot be loaded by Keras"):
        export(tmp_path / "cut.h5")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_with_an_unknown_layer(tmp_path, suffix):
    class Unheard(keras.layers.Layer):
        def call(self, x):
            return x

    image = keras.Input((4, 4, 3))
    path = tmp_path / f"model{suffix}"
    keras.Model(image, Unheard()(image)).save(path)
    expected = r"(?s)holds a layer that is not known here.*Unheard.*custom_objects=\{\.\.\.\}"
    with pytest.raises(ModelError, match=expected):
        export(path)


def test_a_file_of_weights(resnet, tmp_path):
    path = tmp_path / "model.weights.h5"
    resnet.save_weights(path)
    with pytest.raises(ModelError, match="holds weights and no model; build the model"):
        export(path)


def test_a_folder_that_is_no_saved_model(tmp_path):
    with pytest.raises(ModelError, match=r"is no SavedModel: it has no saved_model\.pb"):
        export(tmp_path)


def test_a_saved_model_that_is_broken(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 99)
    with pytest.raises(ModelError, match=r"the SavedModel .* cannot be loaded"):
        export(tmp_path)


@pytest.mark.parametrize("model", [3, None, keras.layers.Dense(2), lambda x: x])
def test_what_is_no_model(model, untouched):
    with pytest.raises(ArgumentError, match=r"expected a Keras 3 model, the path of .* received a"):
        export(model, untouched)


def test_frn_over_an_input_of_rank_2(untouched):
    x = keras.Input((5,))
    with pytest.raises(ShapeError, match="rank"):
        export(keras.Model(x, FilterResponseNormalization()(x)), untouched)


def test_keras_on_another_backend(resnet, untouched, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match="Keras runs on jax, but the export needs TensorFlow"):
        export(resnet, untouched)


@pytest.mark.parametrize("package", ["keras", "tensorflow"])
def test_a_package_that_is_missing(package):
    code = f"import sys; sys.modules[{package!r}] = None; import frn_onnx; frn_onnx.export"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = rf"DependencyError: .*{package}.* not installed; .*pip install 'frn_onnx\[keras\]'"
    assert re.search(expected, result.stderr), result.stderr


def test_a_signature_of_another_kind(resnet, untouched):
    with pytest.raises(ArgumentError, match=r"signature must be a tf\.TensorSpec for each input"):
        export(resnet, untouched, signature="serving_default")
    two = [tf.TensorSpec((1, 8, 8, 3)), tf.TensorSpec(())]
    with pytest.raises(ArgumentError, match=r"has 1 inputs \(image\), received a signature of 2"):
        export(resnet, untouched, signature=two)


def test_a_signature_that_the_model_cannot_take(resnet, untouched):
    with pytest.raises(ExportError, match=r"(?s)cannot be traced with inputs .*image.*8, 8, 4"):
        export(resnet, untouched, signature=tf.TensorSpec((1, 8, 8, 4)))


def test_a_function_without_a_signature(untouched):
    with pytest.raises(ExportError, match=r"cannot be traced: .*; pass signature="):
        export(tf.function(export_cases.normal), untouched)


def test_an_operation_that_tf2onnx_does_not_know(untouched):
    class Odd(keras.layers.Layer):
        def call(self, x):
            return tf.math.lgamma(x)

    image = keras.Input((4, 4, 3))
    model = keras.Model(image, Odd()(FilterResponseNormalization()(image)))
    expected = r"tf2onnx .* cannot write in opset 18: Lgamma \(.*odd.*\); replace the layers"
    with pytest.raises(ExportError, match=expected + ".* named after$"):
        export(model, untouched)
    with pytest.raises(ExportError, match=r"cannot write in opset 13: Lgamma .*, or try opset 18$"):
        export(model, untouched, opset=13)


def test_an_operation_that_tf2onnx_fails_at(untouched):
    number = keras.Input((5,), dtype="int32", name="number")
    lookup = keras.layers.IntegerLookup(vocabulary=[3, 1], name="numbers")
    with pytest.raises(ExportError, match=r"at the node '.*/numbers.*': .*lookup tables"):
        export(keras.Model(number, lookup(number)), untouched)


def test_a_model_that_computes_in_bfloat16(untouched):
    image = keras.Input((4, 4, 3), name="image")
    layer = FilterResponseNormalization(dtype="mixed_bfloat16")
    expected = "computes in bfloat16 .* cannot write; build the model with the dtype policy"
    with pytest.raises(ExportError, match=expected):
        export(keras.Model(image, layer(image), name="coarse"), untouched)


def test_a_model_of_more_than_two_gigabytes(untouched, monkeypatch):
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 1)(image), name="vast")
    monkeypatch.setattr(conversion, "_PROTOBUF_LIMIT_BYTES", 60)
    with pytest.raises(ExportError, match=r"weights of 'vast' take 0\.0 GiB.*more than 2 GiB"):
        export(model, untouched)


def test_a_failure_half_way(resnet, untouched, monkeypatch):
    def fail(*args, **kwargs):
        raise ExportError("half-way")

    monkeypatch.setattr(api, "fuse_in_place", fail)
    with pytest.raises(ExportError, match="half-way"):
        export(resnet, untouched)


def test_a_disk_that_is_full(resnet, untouched, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(api.model_io.os, "replace", fail)
    with pytest.raises(ModelError, match="cannot be written: No space left on device"):
        export(resnet, untouched)


@pytest.mark.parametrize("parameter", [1, 2, 3])
def test_a_model_that_computes_something_else(resnet, untouched, monkeypatch, parameter):
    """One channel of one parameter of one layer is off: the outputs that differ are told."""
    fuse_in_place = api.fuse_in_place

    def spoiled(model, layout):
        result = fuse_in_place(model, layout)
        nodes = [node for node in model.graph if node.op_type == op.OP_TYPE]
        given = nodes[4].inputs[parameter]
        values = given.const_value.numpy().copy()
        values.reshape(-1)[1] += 0.5
        given.const_value = ir.Tensor(values, name=given.name)
        return result

    monkeypatch.setattr(api, "fuse_in_place", spoiled)
    expected = (
        r"(?s)computes something else than 'small_resnet'; nothing was written.*"
        r"logits: max abs error \d.*; worst at \(\d, \d\) of \(\d, 5\): .* allowed"
    )
    with pytest.raises(VerificationError, match=expected):
        export(resnet, untouched)
    model = export(resnet, verify=False)
    assert len(export_cases.frn_nodes(model)) == 10


def test_an_original_that_does_not_run_on_random_input(untouched):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), name="x")])
    def picky(x):
        with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(x)[0], 7)]):
            return tf.identity(x * tf.math.rsqrt(tf.reduce_mean(x * x, [1, 2], True) + 0.1))

    with pytest.raises(VerificationError, match=r"(?s)'picky' cannot be verified.*--no-verify"):
        export(picky, untouched)
    assert len(export_cases.frn_nodes(export(picky, verify=False))) == 1


def test_an_input_of_unknown_rank(untouched):
    function = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec(None, name="x")])
    with pytest.raises(VerificationError, match="the rank of the input 'x' is unknown"):
        export(function, untouched)


def test_what_is_there_is_replaced_when_all_went_well(resnet, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(BEFORE)
    model = export(resnet, path)
    assert path.read_bytes() == model.SerializeToString()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_report_is_logged_and_returned(resnet, caplog):
    with caplog.at_level("INFO", logger="frn_onnx.export"):
        export(resnet)
    result = export_model(resnet)
    assert str(result) in caplog.text
    assert "10 FRN nodes of 10 FRN layers; 25 nodes, 1 of them Transposes" in str(result)
    assert re.search(r"logits: max abs error \S+, relative \S+", str(result))
    assert str(export_model(resnet, verify=False)).endswith("not verified")


def test_nothing_is_printed(resnet, capfd):
    """Neither by tf2onnx nor by TensorFlow, once it is loaded."""
    export(resnet)
    assert capfd.readouterr() == ("", "")


def test_loggers_are_as_before(resnet):
    import logging

    logger = logging.getLogger("tf2onnx")
    before = logger.level
    export(resnet, verify=False)
    with pytest.raises(ExportError):
        export(resnet, signature=tf.TensorSpec((1, 8, 8, 4)))
    assert logger.level == before

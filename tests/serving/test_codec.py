"""V2 requests and responses as bytes: round trips, every refusal, and fuzzing."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frn_onnx.serving import codec, datatypes, tensors
from frn_onnx.serving.errors import RequestError
from frn_onnx.serving.signature import Signature, TensorSpec


def signature_of(*specs: TensorSpec) -> Signature:
    named = {spec.name: spec for spec in specs}
    return Signature("m", "1", named, named)


X = TensorSpec("x", "FP32", (-1, 2))
S = TensorSpec("s", "BYTES", (-1,))
ONE = signature_of(X)
VALID = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def pack(message, binary=b""):
    """A body and its Inference-Header-Content-Length."""
    head = json.dumps(message).encode()
    return head + binary, len(head) if binary else None


def parse(pieces, json_length: int | None, signature: Signature) -> dict[str, np.ndarray]:
    """What a client makes of a response; written from the protocol's text alone."""
    body = b"".join(pieces)
    head = json.loads(body[:json_length])
    at, arrays = json_length or 0, {}
    for output in head["outputs"]:
        spec = signature.outputs[output["name"]]
        dtype = datatypes.NUMPY[spec.datatype]
        if "data" in output:
            flat = np.array([np.nan if v is None else v for v in output["data"]], dtype=dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            raw, at = body[at : at + size], at + size
            if spec.datatype == "BYTES":
                texts = []
                while raw:
                    length = int.from_bytes(raw[:4], "little")
                    texts.append(raw[4 : 4 + length].decode())
                    raw = raw[4 + length :]
                flat = np.array(texts, dtype=object)
            else:
                flat = np.frombuffer(raw, dtype)
        arrays[output["name"]] = flat.reshape(output["shape"])
    assert at == (len(body) if json_length is not None else 0)
    return arrays


def elements(datatype):
    if datatype == "BYTES":
        return st.text(max_size=5)
    if datatypes.kind(datatype) == "f" and datatype != "BF16":
        return hnp.from_dtype(datatypes.NUMPY[datatype], allow_nan=False, allow_infinity=False)
    return hnp.from_dtype(datatypes.NUMPY[datatype])


@st.composite
def tensor(draw, datatype):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=3))
    return draw(hnp.arrays(datatypes.NUMPY[datatype], shape, elements=elements(datatype)))


@pytest.mark.parametrize("datatype", [d for d in datatypes.NUMPY if d != "BF16"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_round_trip(datatype, data):
    """Binary or JSON in, binary or JSON out, alone or mixed: the values stay."""
    a, b = data.draw(tensor(datatype)), data.draw(tensor(datatype))
    signature = signature_of(
        TensorSpec("a", datatype, (-1,) * a.ndim), TensorSpec("b", datatype, b.shape)
    )
    inputs, binary, outputs = [], b"", []
    for name, array in (("a", a), ("b", b)):
        entry = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if data.draw(st.booleans(), f"{name} as binary"):
            raw = tensors.to_bytes(array, datatype)
            entry["parameters"] = {"binary_data_size": len(raw)}
            binary += raw
        else:
            entry["data"] = array.tolist() if data.draw(st.booleans()) else array.ravel().tolist()
        inputs.append(entry)
        as_binary = data.draw(st.booleans(), f"{name} wanted as binary")
        outputs.append({"name": name, "parameters": {"binary_data": as_binary}})
    request = codec.decode(
        *pack({"id": "r", "inputs": inputs, "outputs": outputs}, binary), signature
    )
    for name, array in (("a", a), ("b", b)):
        assert request.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(request.inputs[name], array)
    answer = parse(*codec.encode(request, request.inputs, signature), signature)
    np.testing.assert_array_equal(answer["a"], a)
    np.testing.assert_array_equal(answer["b"], b)


@settings(deadline=None)
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_rounds_to_nearest(values):
    wide = np.array(values, dtype=np.float32)
    bits = datatypes.bfloat16_bits(wide)
    narrow = datatypes.bfloat16_values(bits)
    finite = np.isfinite(narrow)
    # 8 significant bits: half a unit in the last place, or half the smallest subnormal.
    allowed = np.maximum(np.abs(wide.astype(np.float64)) * 2.0**-8, 2.0**-134)
    assert (np.abs(narrow.astype(np.float64) - wide)[finite] <= allowed[finite]).all()
    np.testing.assert_array_equal(datatypes.bfloat16_bits(narrow), bits)


def test_bfloat16_nan_stays_nan():
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(
        datatypes.bfloat16_values(datatypes.bfloat16_bits(values)), values
    )


def test_nan_and_infinity_pass_as_binary_and_become_null_in_json():
    x = np.array([[np.nan, np.inf]], np.float32)
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
    entry["parameters"] = {"binary_data_size": 8}
    request = codec.decode(*pack({"inputs": [entry]}, x.tobytes()), ONE)
    np.testing.assert_array_equal(request.inputs["x"], x)
    body, length = codec.encode(request, {"x": x}, ONE)
    assert length is None
    assert json.loads(b"".join(body))["outputs"][0]["data"] == [None, None]


def test_default_is_all_outputs_as_json_and_binary_data_output_turns_that():
    plain = codec.decode(*pack({"inputs": [VALID]}), ONE)
    assert plain.outputs == {"x": False}
    message = {"inputs": [VALID], "parameters": {"binary_data_output": True}}
    assert codec.decode(*pack(message), ONE).outputs == {"x": True}
    message["outputs"] = [{"name": "x", "parameters": {"binary_data": False}}]
    assert codec.decode(*pack(message), ONE).outputs == {"x": False}


def test_unaligned_raw_tensors_are_aligned_for_the_runtime():
    for padding in range(8):
        entry = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
        entry["parameters"] = {"binary_data_size": 8, "pad": "-" * padding}
        request = codec.decode(*pack({"inputs": [entry]}, np.float32([1, 2]).tobytes()), ONE)
        assert request.inputs["x"].flags.aligned
        np.testing.assert_array_equal(request.inputs["x"], [[1, 2]])


def changed(**changes):
    return {"inputs": [{**VALID, **changes}]}


RAW = {"data": ..., "parameters": {"binary_data_size": 8}}
BAD = {
    "not an object": ([1], "must be a JSON object, received \\[1\\]"),
    "no inputs": ({}, "'inputs' must be a list of inputs, received None"),
    "inputs not a list": ({"inputs": {}}, "must be a list of inputs"),
    "input not an object": ({"inputs": [3]}, "object with a string 'name', received 3"),
    "missing": ({"inputs": []}, "lacks the input 'x'; the model needs 'x'"),
    "extra": ({"inputs": [VALID, {**VALID, "name": "z"}]}, "no input 'z'; its inputs are 'x'"),
    "twice": ({"inputs": [VALID, VALID]}, "input 'x' is there twice"),
    "wrong name": (changed(name="X"), "no input 'X'; its inputs are 'x'"),
    "wrong dtype": (changed(datatype="FP64"), "must have datatype 'FP32', received 'FP64'"),
    "no dtype": (changed(datatype=None), "must have datatype 'FP32', received None"),
    "rank": (changed(shape=[2]), r"must have shape \[-1, 2\].*received \[2\]"),
    "fixed dim": (changed(shape=[1, 3]), r"must have shape \[-1, 2\].*received \[1, 3\]"),
    "zero dim": (changed(shape=[0, 2]), r"at least 1\), received \[0, 2\]"),
    "negative dim": (changed(shape=[-1, 2]), r"at least 1\), received \[-1, 2\]"),
    "huge dim": (changed(shape=[2**62, 2]), "must hold the 9223372036854775808 elements"),
    "huger dim": (changed(shape=[2**70, 2]), "list of integers, received"),
    "float dim": (changed(shape=[1.0, 2]), "list of integers, received"),
    "bool dim": (changed(shape=[True, 2]), "list of integers, received"),
    "text shape": (changed(shape="12"), "list of integers, received '12'"),
    "too few": (changed(data=[1]), "the 2 elements of shape .* received 1$"),
    "too many": (changed(data=[1, 2, 3]), "the 2 elements of shape .* received 3$"),
    "ragged": (changed(shape=[2, 2], data=[[1, 2], [3]]), "the 4 elements of shape .* received 3$"),
    "too deep": (changed(data=[[[1], [2]]]), "must hold numbers only, received \\[1\\]"),
    "transposed": (changed(data=[[1], [2]]), "received 2 in other lists$"),
    "text": (changed(data=["1", "2"]), "must hold numbers only, received '1'"),
    "null": (changed(data=[1, None]), "must hold numbers only, received None"),
    "bool": (changed(data=[1, True]), "must hold numbers only, received True"),
    "scalar data": (changed(data=7), "must be a list, received 7"),
    "overflow": (changed(data=[1e39, 0]), "holds 1e\\+39, which is too large for FP32"),
    "no data": ({"inputs": [{k: v for k, v in VALID.items() if k != "data"}]}, "has neither"),
    "both": (changed(parameters={"binary_data_size": 8}), "has both"),
    "parameters": (changed(parameters=[1]), "'parameters' of input 'x' must be an object"),
    "request parameters": ({"inputs": [VALID], "parameters": 1}, "of the request must be an obj"),
    "id": ({"inputs": [VALID], "id": 3}, "'id' must be a string, received 3"),
    "unknown output": ({"inputs": [VALID], "outputs": [{"name": "q"}]}, "no output 'q'; its out"),
    "outputs not a list": ({"inputs": [VALID], "outputs": 3}, "'outputs' must be a list"),
    "binary_data": (
        {"inputs": [VALID], "outputs": [{"name": "x", "parameters": {"binary_data": 1}}]},
        "'binary_data' of output 'x' must be true or false, received 1",
    ),
    "binary_data_output": (
        {"inputs": [VALID], "parameters": {"binary_data_output": "yes"}},
        "'binary_data_output' must be true or false",
    ),
    "shared memory": (
        changed(parameters={"shared_memory_region": "r"}),
        "asks for 'shared_memory_region', which this server does not do",
    ),
    "classification": (
        {"inputs": [VALID], "outputs": [{"name": "x", "parameters": {"classification": 3}}]},
        "asks for 'classification'",
    ),
    "sequence": ({"inputs": [VALID], "parameters": {"sequence_id": 7}}, "asks for 'sequence_id'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_request_says_what_was_expected(case):
    message, expected = BAD[case]
    with pytest.raises(RequestError, match=expected):
        codec.decode(*pack(message), ONE)


@pytest.mark.parametrize(
    ("size", "binary", "expected"),
    [
        (8, 7, "announces 8 bytes, and the body has 7 left"),
        (8, 9, "has 9 bytes after the JSON part, and its inputs announce 8"),
        (4, 4, "FP32 must have 8 bytes, received 4"),
        (-8, 8, "number of bytes, at least 0, received -8"),
        (8.0, 8, "number of bytes, at least 0, received 8.0"),
        (True, 8, "number of bytes, at least 0, received True"),
        (2**80, 8, "number of bytes, at least 0, received"),
    ],
)
def test_bad_binary(size, binary, expected):
    entry = {k: v for k, v in VALID.items() if k != "data"}
    message = {"inputs": [{**entry, "parameters": {"binary_data_size": size}}]}
    with pytest.raises(RequestError, match=expected):
        codec.decode(*pack(message, bytes(binary)), ONE)


@pytest.mark.parametrize("header", ["", "-1", "1e3", " 5", "٣", "9" * 19, "9" * 9999])
def test_bad_length_header(header):
    with pytest.raises(RequestError, match="must be the length of the JSON part in bytes, rec"):
        codec.parse_length(header)


def test_length_header_beyond_the_body():
    body, _ = pack({"inputs": [VALID]})
    with pytest.raises(RequestError, match="is 1000, and the whole body has only"):
        codec.decode(body, codec.parse_length("1000"), ONE)


@pytest.mark.parametrize("shift", [-1, 1])
def test_header_length_off_by_one(shift):
    entry = {k: v for k, v in VALID.items() if k != "data"}
    body, length = pack({"inputs": [{**entry, "parameters": {"binary_data_size": 8}}]}, b"\xff" * 8)
    with pytest.raises(RequestError, match="check Inference-Header-Content-Length"):
        codec.decode(body, length + shift, ONE)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"NaN", b'{"inputs": NaN}', b"[" * 5000, b'"\\ud800"', b"{}{}"],
)
def test_not_json(body):
    with pytest.raises(RequestError, match="must be a V2 inference request in JSON"):
        codec.decode(body, None, ONE)


def test_deep_json_is_refused_and_its_message_is_short():
    body = b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}"
    with pytest.raises(RequestError, match="object with a string 'name'") as caught:
        codec.decode(body, None, ONE)
    assert len(str(caught.value)) < 300


def test_nan_in_json_names_the_way_out():
    body = json.dumps(changed(data=[float("nan"), 1])).encode()
    with pytest.raises(RequestError, match="NaN and Infinity are not JSON; binary tensors carry"):
        codec.decode(body, None, ONE)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "byte 0 of 0, after 0 elements"),
        (b"\1\0\0", "byte 0 of 3"),
        (b"\5\0\0\0abc", "byte 0 of 7"),
        (b"\1\0\0\0a\0\0\0\0", "byte 5 of 9, after 1 elements"),
        (b"\1\0\0\0\xff", "element 0 is not UTF-8"),
        (b"\xff\xff\xff\xffa", "byte 0 of 5"),
    ],
)
def test_bad_bytes_elements(raw, expected):
    with pytest.raises(RequestError, match=expected):
        tensors.from_bytes(memoryview(raw), (1,), S)


def test_bool_bytes_are_zero_or_one():
    with pytest.raises(RequestError, match="its bytes must be 0 or 1"):
        tensors.from_bytes(memoryview(b"\2"), (1,), TensorSpec("b", "BOOL", (1,)))


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        ("UINT8", 256, "within 0..255"),
        ("UINT8", -1, "within 0..255"),
        ("INT64", 2**63, "within -9223372036854775808"),
        ("INT32", 1.5, "must hold integers only, received 1.5"),
        ("INT32", True, "must hold integers only, received True"),
        ("BOOL", 1, "must hold true and false only, received 1"),
        ("FP16", 1e6, "too large for FP16"),
        ("BF16", 3.4e38, "too large for BF16"),
        ("BYTES", 3, "must hold strings only, received 3"),
    ],
)
def test_json_values_must_fit_the_datatype(datatype, value, expected):
    spec = TensorSpec("v", datatype, (1,))
    with pytest.raises(RequestError, match=expected):
        tensors.from_json([value], (1,), spec)

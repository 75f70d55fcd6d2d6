"""Bodies that nobody would send: whatever comes, a RequestError or a request that fits."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from frn_onnx.serving import codec, datatypes
from frn_onnx.serving.errors import RequestError
from frn_onnx.serving.signature import Signature, TensorSpec

X = TensorSpec("x", "FP32", (-1, 2))
S = TensorSpec("s", "BYTES", (-1,))
TWO = Signature("m", "1", {"x": X, "s": S}, {"x": X, "s": S})


def pack(message, binary):
    """A body and the length of its JSON part."""
    head = json.dumps(message).encode()
    return head + binary, len(head) if binary else None


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["x", "s", "FP32", "BYTES"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
NEARLY_INPUT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "s", "z"]) | ANY_JSON,
        "shape": st.sampled_from([[1, 2], [1], [2, 2]]) | st.lists(st.integers(-1, 3)) | ANY_JSON,
        "datatype": st.sampled_from(["FP32", "BYTES"]) | ANY_JSON,
        "data": st.sampled_from([[1, 2.5], ["a"], [[1, 2]]]) | ANY_JSON,
        "parameters": st.fixed_dictionaries(
            {}, optional={"binary_data_size": st.integers(-1, 12) | ANY_JSON}
        )
        | ANY_JSON,
    },
)
NEARLY_REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "id": ANY_JSON,
        "inputs": st.lists(NEARLY_INPUT, max_size=3) | ANY_JSON,
        "outputs": st.lists(NEARLY_INPUT, max_size=2) | ANY_JSON,
        "parameters": ANY_JSON
        | st.fixed_dictionaries({"binary_data_output": st.booleans() | ANY_JSON}),
    },
)


def refused_or_fits(body: bytes, length: int | None) -> None:
    """The one property under fuzzing: a RequestError, or a request that fits the signature."""
    try:
        request = codec.decode(body, length, TWO)
    except RequestError as error:
        refusal = str(error)
        request = None
    if request is None:
        assert 0 < len(refusal) < 2000
        return
    assert set(request.inputs) == {"x", "s"}
    for name, spec in TWO.inputs.items():
        array = request.inputs[name]
        assert array.dtype == datatypes.NUMPY[spec.datatype]
        assert array.ndim == len(spec.shape)
        assert array.size > 0
        assert all(want in (-1, dim) for want, dim in zip(spec.shape, array.shape, strict=True))
    codec.encode(request, request.inputs, TWO)


@settings(max_examples=300, deadline=None)
@given(message=NEARLY_REQUEST | ANY_JSON, binary=st.binary(max_size=24), data=st.data())
def test_fuzz_structure(message, binary, data):
    body, length = pack(message, binary)
    lengths = st.none() | st.integers(0, len(body) + 2)
    refused_or_fits(body, data.draw(st.just(length) | lengths))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_fuzz_bytes_of_a_valid_request(data):
    text = b"\2\0\0\0ab"
    message = {
        "id": "1",
        "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, -2]},
            {
                "name": "s",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(text)},
            },
        ],
    }
    body, length = pack(message, text)
    changed_body = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed_body) - 1))
        what = data.draw(st.sampled_from(["set", "delete", "insert"]))
        if what == "set":
            changed_body[at] = data.draw(st.integers(0, 255))
        elif what == "delete":
            del changed_body[at]
        else:
            changed_body.insert(at, data.draw(st.integers(0, 255)))
    refused_or_fits(bytes(changed_body), length)

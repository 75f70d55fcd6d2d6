"""Large JSON: cut and read in pieces, it is what a parser makes of the whole."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frn_onnx.serving import codec, json_numbers, tensors
from frn_onnx.serving.errors import RequestError, TooLargeError
from frn_onnx.serving.signature import Signature, TensorSpec

X = TensorSpec("x", "FP32", (-1, 2, -1))
ONE = Signature("m", "1", {"x": X}, {"x": X})
SHAPE = (40, 2, 25)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Everything is large, and a window holds a few numbers."""
    monkeypatch.setattr(codec, "SMALL_BYTES", 0)
    monkeypatch.setattr(json_numbers, "_WINDOW_BYTES", 64)
    monkeypatch.setattr(json_numbers, "_LONG_BYTES", 16)


def request(data, shape=SHAPE, datatype="FP32", **more):
    entry = {"name": "x", "shape": list(shape), "datatype": datatype, "data": data}
    return {"inputs": [entry], **more}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(("datatype", "kind"), [("FP32", "f"), ("INT16", "i"), ("BOOL", "b")])
def test_what_a_parser_makes_of_it(rng, nested, indent, datatype, kind):
    x = rng.normal(0, 99, size=SHAPE)
    x = {"f": x.astype(np.float32), "i": x.astype(np.int16), "b": x > 0}[kind]
    data = x.tolist() if nested else x.ravel().tolist()
    spec = TensorSpec("x", datatype, (-1, 2, -1))
    body = json.dumps(request(data, datatype=datatype, id='a "data": ['), indent=indent).encode()
    taken = []
    signature = Signature("m", "1", {"x": spec}, {"x": spec})
    decoded = codec.decode(body, None, signature, taken.append)
    np.testing.assert_array_equal(decoded.inputs["x"], x)
    assert decoded.id == 'a "data": ['
    assert sum(taken) >= x.nbytes


def test_a_string_or_key_that_looks_like_data_is_none(rng):
    x = rng.normal(size=SHAPE).astype(np.float32)
    message = request(x.ravel().tolist(), parameters={'"data"': [1] * 50, "a": '"data":[1,2]'})
    body = json.dumps(message).encode()
    np.testing.assert_array_equal(codec.decode(body, None, ONE).inputs["x"], x)


def test_a_key_may_be_written_in_numbers(rng):
    x = rng.normal(size=SHAPE).astype(np.float32)
    body = json.dumps(request(x.ravel().tolist())).replace('"data"', r'"d\u0061\u0074a"').encode()
    taken = []
    np.testing.assert_array_equal(codec.decode(body, None, ONE, taken.append).inputs["x"], x)
    assert sum(taken) >= x.nbytes


NUMBERS = ",".join(["1"] * 100)


@pytest.mark.parametrize(
    "data",
    [
        f"[{NUMBERS},]",
        f"[{NUMBERS},,1]",
        f"[{NUMBERS} 1]",
        f"[{NUMBERS}",
        f"[{NUMBERS}]]",
        f"[{NUMBERS},NaN]",
        f"[{NUMBERS},01]",
        f"[{NUMBERS},1e]",
        f"[{NUMBERS},null]",
        f"[{NUMBERS},true]",
        f"[{NUMBERS},[1]]",
        "[" * 500 + "1" + "]" * 500,
        "[" * 500,
        "[" + "1" * 500 + "]",
        "[" + " " * 500 + "]",
        f"[[[{NUMBERS}]]]",
    ],
)
def test_what_is_not_a_tensor_is_refused(data):
    body = json.dumps(request("@", shape=(1, 2, 50))).replace('"@"', data).encode()
    with pytest.raises(RequestError):
        codec.decode(body, None, ONE)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ("[" + " " * 40 + "]", (1, 2, 50)),
        ("[" + " " * 40 + "]", (1, 2, 1)),
        ("[" + " " * 40 + "]", (1, 1, 1)),
        ("[[[" + "1," * 49 + "1],[" + "1," * 49 + "1]]", (1, 2, 50)),
    ],
)
def test_what_is_too_little_is_refused(data, shape):
    body = json.dumps(request("@", shape=shape)).replace('"@"', data).encode()
    free = TensorSpec("x", "FP32", (-1, -1, -1))
    with pytest.raises(RequestError, match=r"'data' must hold the .* received"):
        codec.decode(body, None, Signature("m", "1", {"x": free}, {"x": free}))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (f"[{NUMBERS},NaN]", "NaN and Infinity are not JSON, binary tensors carry them"),
        (f'[{NUMBERS},"a",{NUMBERS}]', 'must hold numbers only, received \'"a",1,1'),
        (f"[{NUMBERS}", "ends after .* in the middle of an array under 'data'"),
        (f"[{NUMBERS},{{", "must hold numbers only, received '{'"),
        (f"[{NUMBERS}]", r"the 101 elements of shape \[101, 1, 1\], .*, received 100$"),
        (f"[[[{NUMBERS}]],[[1]]]", r"received 101 in other lists$"),
        (f"[{NUMBERS},1,1]", r"received 102$"),
    ],
)
def test_large_data_is_refused_with_its_reason(data, text, monkeypatch):
    """What is cut off, or mixed, is too much to be parsed at one go, and not too large."""
    monkeypatch.setattr(json_numbers, "TEXT_BYTES", 150)
    body = json.dumps(request("@", shape=(101, 1, 1))).replace('"@"', data)
    body = body[: body.index(data) + len(data)] if data[-1] in "1{" else body
    free = TensorSpec("x", "FP32", (-1, -1, -1))
    with pytest.raises(RequestError, match=text) as caught:
        codec.decode(body.encode(), None, Signature("m", "1", {"x": free}, {"x": free}))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("good", "bad"),
    [("1,2", "1[,2"), ("],[", "],1[,"), ("],[", "]1,["), ("],[", "] ,[,"), ("1,2", "1 ,,2")],
)
def test_misplaced_brackets_are_refused(good, bad):
    text = json.dumps(request(np.tile([1, 2], 50).reshape(5, 2, 10).tolist(), shape=(5, 2, 10)))
    text = text.replace(" ", "")
    codec.decode(text.encode(), None, ONE)
    assert good in text
    with pytest.raises(RequestError):
        codec.decode(text.replace(good, bad, 1).encode(), None, ONE)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzz_against_the_parser(data):
    """Bytes changed at random: refused, or what json makes of the same text."""
    x = np.arange(100, dtype=np.float32).reshape(5, 2, 10)
    nested = data.draw(st.booleans())
    text = bytearray(
        json.dumps(request(x.tolist() if nested else x.ravel().tolist(), shape=x.shape)).encode()
    )
    start = text.index(b"data")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(start, len(text) - 1))
        new = data.draw(st.sampled_from(b'[],.0123456789eE+- "{}tru'))
        if data.draw(st.booleans()):
            text[at] = new
        else:
            text.insert(at, new)
    try:
        decoded = codec.decode(bytes(text), None, ONE).inputs["x"]
    except RequestError:
        return
    expected = json.loads(text)["inputs"][0]["data"]
    np.testing.assert_array_equal(decoded, np.array(expected, np.float32).reshape(decoded.shape))


def test_shapes_that_would_take_all_memory_are_refused():
    body = json.dumps(request([1.5] * 100, shape=(2**60, 2, 2**60))).encode()
    with pytest.raises(RequestError, match="must hold the"):
        codec.decode(body, None, ONE, lambda size: None)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 2), (5, 1, 2), (2, 1, 4), (1, 1, 1), (7, 9)])
def test_the_structure_is_made_as_it_is_read(shape, monkeypatch):
    """However small a part is made at a time, and however much of it is read."""
    values = np.zeros(shape, int).tolist()
    whole = json.dumps(values, separators=(",", ":")).replace("0", "").encode()
    for window in (1, 2, 5, 9, 100):
        monkeypatch.setattr(json_numbers, "_WINDOW_BYTES", window)
        for size in (1, 3, 7, 1000):
            structure = json_numbers._Structure(shape)
            assert b"".join(iter(lambda s=structure, n=size: s.read(n), b"")) == whole


def test_what_is_left_is_bounded():
    for bomb in (b"{},", b"[],", b'{"name":"x"},', b'"data":[1],', b'"data":["a"],'):
        body = b'{"inputs":[' + bomb * (2 * json_numbers.TEXT_BYTES // len(bomb)) + b"0]}"
        with pytest.raises(TooLargeError, match="besides the numbers"):
            codec.decode(body, None, ONE)


def test_answers_are_written_in_pieces(monkeypatch, rng):
    monkeypatch.setattr(tensors, "_PIECE", 7)
    for array, datatype in (
        (rng.normal(size=(5, 4)).astype(np.float32), "FP32"),
        (np.array([[True, False]] * 9), "BOOL"),
        (np.array([["ä", '"'] * 9], object), "BYTES"),
        (np.zeros((0, 3), np.float32), "FP32"),
    ):
        pieces = list(tensors.to_json(array, datatype))
        assert len(pieces) == 2 + math.ceil(array.size / 7)
        text = b"".join(pieces)
        assert np.array(json.loads(text), array.dtype).tolist() == array.ravel().tolist()

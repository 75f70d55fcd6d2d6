"""RegisterCustomOps: called twice, from several threads, on options that come and go."""

import concurrent.futures
import gc

import numpy as np
import onnxruntime as ort
import ort_models
from native_cases import make_params, make_x, run_and_check

import frn_onnx

MODEL = ort_models.frn_model(x=(1, 2, 3, 4), axes=(2, 3), channels=2)


def test_twice_on_the_same_options():
    ort_models.session(MODEL, registrations=3)


def test_new_options_at_a_used_address():
    """What marks options as registered dies with them: it is not their address."""
    for _ in range(200):
        options = ort.SessionOptions()
        options.register_custom_ops_library(frn_onnx.get_library_path())
        ort.InferenceSession(MODEL.SerializeToString(), options)
        del options


def test_session_outlives_its_options(rng):
    session = ort_models.session(MODEL)
    gc.collect()
    x = make_x(rng, (1, 2, 3, 4), np.float32)
    params = make_params(rng, 2, np.float32)
    feeds = {n: p[:, None, None] for n, p in zip(("gamma", "beta", "tau"), params, strict=True)}
    y = session.run(None, {"X": x, **feeds})[0]
    expected = run_and_check(x, *params, epsilon=float(np.float32(1e-3)), axes=(2, 3))
    assert y.tobytes() == expected.tobytes()


def test_from_several_threads():
    """On options of their own, and all on the same."""
    path = frn_onnx.get_library_path()
    shared = ort.SessionOptions()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(shared.register_custom_ops_library, path) for _ in range(16)]
        waiting += [pool.submit(ort_models.session, MODEL) for _ in range(16)]
        for future in waiting:
            future.result()
    ort.InferenceSession(MODEL.SerializeToString(), shared)

"""The layers on every Keras backend that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tolerances import assert_within, frn_bound

from frn_onnx import reference

PROBE = Path(__file__).with_name("backend_probe.py")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_backend(backend, rng, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    x = rng.normal(-1.3, 2.0, (2, 5, 6, 3)).astype("f2").astype("f4")
    gamma, beta, tau = (rng.normal(size=3).astype("f4") for _ in range(3))
    np.savez(tmp_path / "case.npz", x=x, gamma=gamma, beta=beta, tau=tau)
    found = subprocess.run(
        [sys.executable, PROBE, tmp_path / "case.npz", tmp_path / "result.npz"],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    results = dict(np.load(tmp_path / "result.npz"))

    assert results.pop("backend") == backend
    np.testing.assert_array_equal(results.pop("tlu"), np.maximum(x, tau))
    trained = results.pop("trained")
    assert np.isfinite(trained).all()
    # learned_epsilon, gamma and beta, then the tau and alpha of the TLU.
    assert trained.shape == (5,)
    assert (trained > 0).all()
    assert len(results) == 9
    for name, y in results.items():
        epsilon = 0.3 if name == "drop-in" else 0.1 + 0.2
        expected = reference.frn(x, gamma, beta, tau, epsilon=epsilon)
        bound = frn_bound(x, gamma, beta, tau, epsilon=epsilon, dtype=y.dtype)
        assert_within(y, expected, bound)

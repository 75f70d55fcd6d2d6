"""Runs the layers on the Keras backend that KERAS_BACKEND names; test_backends.py starts it.

    python backend_probe.py CASE.npz RESULT.npz

CASE holds x, gamma, beta and tau; RESULT gets the output of each layer, before and after a
round trip through a file, and how far one epoch of training moved each weight.
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from frn_onnx.layers import FRN, TLU, FilterResponseNormalization


def main(case_path: str, result_path: str) -> None:
    case = dict(np.load(case_path))
    x, parameters = case["x"], [case["gamma"], case["beta"], case["tau"]]
    gamma, beta, tau = parameters
    results = {"backend": np.array(keras.backend.backend())}
    for data_format in ("channels_last", "channels_first"):
        last = data_format == "channels_last"
        for dtype in ("float32", "mixed_float16"):
            size = (None, None, x.shape[-1]) if last else (x.shape[-1], None, None)
            image = keras.Input(size)
            options = {"data_format": data_format, "dtype": dtype}
            y = FilterResponseNormalization(0.1, learned_epsilon=True, **options)(image)
            model = keras.Model(image, y)
            model.layers[-1].set_weights([np.array([0.2], "f4"), *parameters])
            moved = x if last else np.moveaxis(x, -1, 1)
            y = keras.ops.convert_to_numpy(model(moved))
            results[f"frn {data_format} {dtype}"] = y if last else np.moveaxis(y, 1, -1)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                model.save(path)
                again = keras.models.load_model(path)
            y = keras.ops.convert_to_numpy(again(moved))
            results[f"frn {data_format} {dtype} again"] = y if last else np.moveaxis(y, 1, -1)

    drop_in = FRN(0.3)
    drop_in.build(x.shape)
    drop_in.set_weights([tau, gamma, beta])
    results["drop-in"] = keras.ops.convert_to_numpy(drop_in(x))
    threshold = TLU()
    threshold.build(x.shape)
    threshold.set_weights([tau])
    results["tlu"] = keras.ops.convert_to_numpy(threshold(x))

    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            FilterResponseNormalization(0.1, learned_epsilon=True, activation=None),
            TLU(affine=True),
        ]
    )
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    results["trained"] = np.array(
        [np.abs(a - b).max() for a, b in zip(before, model.get_weights(), strict=True)]
    )
    np.savez(result_path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs a file in a runtime that is called from Python, perhaps in an environment of its own.

python programs.py RUNTIME MODEL.onnx INPUT.npy       prints the output, a number a line
"""

import sys

import numpy as np


def plugin(model: str, x: np.ndarray) -> np.ndarray:
    import frn_onnx

    session = frn_onnx.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def onnxruntime(model: str, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def onnx(model: str, x: np.ndarray) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    return evaluator.run(None, {evaluator.input_names[0]: x})[0]


def openvino(model: str, x: np.ndarray) -> np.ndarray:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(core.read_model(model), "CPU", config)(x)[0]


def opencv(model: str, x: np.ndarray) -> np.ndarray:
    import cv2

    network = cv2.dnn.readNetFromONNX(model)
    network.setInput(x)
    return network.forward()


def tract(model: str, x: np.ndarray) -> np.ndarray:
    import tract

    return tract.onnx().load(model).into_model().into_runnable().run([x])[0].to_numpy()


if __name__ == "__main__":
    runtime, file, given = sys.argv[1:]
    y = globals()[runtime](file, np.load(given))
    print(*(f"{value:.9g}" for value in np.asarray(y).ravel()), sep="\n")

"""Whole networks in ONNX Runtime: one exported from Keras, a U-Net at batch 1, a ResNet-50."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import resnet50
from context import Context, SkipError, collect
from sessions import Session, compare, device_for, time_in_turns
from weights import draw_again

from frn_onnx import lower, op
from frn_onnx.graph import model_io
from frn_onnx.graph.fusion import fuse_in_place

# TF32 is off there, so that what is left is the order of summation over 20 layers.
_EXACT = {"use_tf32": "0"}
_LOGITS_TOLERANCE = 1e-3  # of the largest


def models_folder() -> Path:
    """Where call.sh put the kit's models.

    Raises:
        SkipError: there are none.
    """
    work = os.environ.get("FRN_GPU_WORK")
    if not work or not (folder := Path(work, "models")).is_dir():
        raise SkipError("there are no models of a kit here; start this with call.sh")
    return folder


def run_exported(context: Context) -> dict:
    """A network exported from Keras gives Keras's own logits."""
    device, folder = device_for(context), models_folder()
    stored = np.load(folder / "resnet20.npz")
    model = onnx.load(folder / "resnet20.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = len(stored["images"])
    session = Session(model, True, device, _EXACT)
    session.bind(stored["images"])
    session.run()
    expected = stored["logits"]
    difference = float(np.abs(session.output() - expected).max() / np.abs(expected).max())
    failures = []
    if not difference < _LOGITS_TOLERANCE:
        failures.append({"case": "resnet20", "what": f"logits differ by {difference:.3g}"})
    return {"difference": difference, "tolerance": _LOGITS_TOLERANCE, "failures": failures}


def run_unet(context: Context) -> dict:
    """A U-Net of 36 FRN at batch 1, as it was exported and as this package runs it."""
    device, folder = device_for(context), models_folder()
    graph = {"enable_cuda_graph": "1"}
    nhwc = {**graph, "prefer_nhwc": "1"}
    runs = {  # what it is called: the kit's file, the provider's options
        "original": ("original_float32", {}),
        "plugin": ("plugin_float32", {}),
        "plugin, graph": ("plugin_float32", graph),
        "float16: original, graph": ("original_float16", graph),
        "float16: plugin": ("plugin_float16", {}),
        "float16: plugin, graph": ("plugin_float16", graph),
        "float16: plugin, graph, NHWC": ("plugin_nhwc_float16", nhwc),
        "float16: ReLU, graph": ("relu_float16", graph),
        "float16: ReLU, graph, NHWC": ("relu_float16", nhwc),
    }
    sessions = {}
    for name, (file, options) in runs.items():
        model = onnx.load(folder / f"unet_{file}.onnx")
        draw_again(model)
        sessions[name] = Session(model, "plugin" in file, device, options)
        x = np.random.default_rng(0).standard_normal((1, 256, 256, 3))
        sessions[name].bind(x.astype(file.rpartition("_")[2]))
    frn = {name: session for name, session in sessions.items() if "ReLU" not in name}
    relu = {name: session for name, session in sessions.items() if "ReLU" in name}
    difference = compare(frn, "float16")
    compare(relu, "float16")
    times = time_in_turns(context, {name: s.run for name, s in sessions.items()})
    medians = {name: value["median"] for name, value in times.items()}
    ours, theirs = (min(medians[n] for n in medians if kind in n) for kind in ("plugin", "ReLU"))
    return {
        "ms": times,
        "difference": difference,
        "over_relu": ours / theirs,
        "of_original": ours / medians["original"],
    }


def run_resnet50(context: Context) -> dict:
    """A ResNet-50: FRN as primitives, FRN by the plugin, and the network with ReLU alone."""
    device = device_for(context)
    # On a GPU what people run: setting up a session takes seconds there.
    dtypes, batches, graphs = ("float16",), (64, 1), (True,)
    if context.dry_run:
        dtypes, batches, graphs = ("float16", "float32"), (2,), (False, True)
    settings = [
        {"dtype": dtype, "batch": batch, "nhwc": nhwc, "graph": graph}
        for dtype in dtypes
        for batch in batches
        for nhwc in (False, True)
        for graph in graphs
    ]
    return collect(context, settings, lambda setting: network_row(context, device, **setting))


def network_row(
    context: Context, device: str, *, dtype: str, batch: int, nhwc: bool, graph: bool
) -> dict:
    """Three networks under one setting of the CUDA provider."""
    small = {"image": 64, "width": 8, "classes": 10} if context.dry_run else {}
    options = {"prefer_nhwc": str(int(nhwc)), "enable_cuda_graph": str(int(graph))}
    common = {"batch": batch, "dtype": dtype, **small}
    primitives = lower(resnet50.build(**common), "primitives")
    fused = model_io.load(primitives)
    # With NHWC convolutions, FRN in NHWC: ONNX Runtime then removes the Transposes around it.
    fuse_in_place(fused, "NHWC" if nhwc else "NCHW")
    sessions = {
        "plugin": Session(ir.to_proto(fused), True, device, options),
        "primitives": Session(primitives, False, device, options),
    }
    relu = Session(resnet50.build(**common, norm="relu"), False, device, options)
    additions = sessions["plugin"].operators[op.RESIDUAL_OP_TYPE]
    if additions != sum(resnet50.BLOCKS):
        raise RuntimeError(f"{additions} of {sum(resnet50.BLOCKS)} additions are in FRN nodes")
    image = small.get("image", 224)
    shape = (batch, 3, image, image)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for session in (*sessions.values(), relu):
        session.bind(x)
    difference = compare(sessions, dtype)
    compare({"relu": relu}, dtype)
    times = time_in_turns(context, {name: s.run for name, s in {**sessions, "relu": relu}.items()})
    medians = {name: value["median"] for name, value in times.items()}
    return {
        "dtype": dtype,
        "batch": batch,
        "prefer_nhwc": nhwc,
        "cuda_graph": graph,
        "difference": difference,
        "operators": {name: s.operators for name, s in {**sessions, "relu": relu}.items()},
        "ms": times,
        "speedup": medians["primitives"] / medians["plugin"],
        "over_relu": medians["plugin"] / medians["relu"],
    }

"""Prepares what a GPU machine without a network needs to run the benchmarks.

    make gpu-kit            # into build/gpu-kit; on a machine with Keras and with PyPI

Copy the folder there, a part at a time if need be, unpack part1/source.tar.xz, and run, in it,
`bash benchmarks/gpu/call.sh KIT A OUT` and so on: README.md beside this file.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from trim import trim  # noqa: E402
from weights import leave_out  # noqa: E402

MOST_BYTES = 60 << 20  # of a part
_ORT = "onnxruntime-gpu==1.31.1"
_PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
# Neither is loaded by Python's onnxruntime with the CUDA provider.
_LEFT_OUT = ("libonnxruntime.so.", "libonnxruntime_providers_tensorrt.so")
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 12, 5)]
_PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]
_WHEEL_SOURCES = ("custom_ops", ":!custom_ops/tests", "frn_onnx", "models", "setup.py")
# For machines that lack them; call.sh installs what cannot be imported.
_WHEELS = [
    *("numpy", "ml_dtypes", "onnx", "onnx-ir", "sympy", "mpmath", "typing_extensions", "protobuf"),
    *("flatbuffers", "packaging", "rich", "markdown-it-py", "mdurl", "pygments"),
    *("setuptools", "wheel", "pybind11", "ninja", "cmake", "pytest", "pluggy", "iniconfig"),
]


def download(requirements: list[str], python: str, folder: Path) -> None:
    """Wheels for Linux on x86-64 and a version of Python, without what they require."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder)]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={platform}" for platform in _PLATFORMS]
    environment = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    subprocess.run([*command, *requirements], check=True, env=environment)


def pack_onnxruntime(wheel: Path, architecture: int, path: Path) -> None:
    """The wheel as an archive, its device code cut down to one architecture."""
    with zipfile.ZipFile(wheel) as source, tarfile.open(path, "w:xz", preset=6) as target:
        for item in source.infolist():
            if item.is_dir() or any(part in item.filename for part in _LEFT_OUT):
                continue
            content = source.read(item)
            if item.filename == _PROVIDER:
                content = trim(content, architecture)
            entry = tarfile.TarInfo(item.filename)
            entry.size, entry.mode = len(content), 0o755 if ".so" in item.filename else 0o644
            target.addfile(entry, io.BytesIO(content))


def add_wheel(python: str, folder: Path) -> None:
    """The newest of the package's own wheels with CUDA kernels for that Python in dist/."""
    found = (ROOT / "dist").glob(f"frn_onnx-*+cu*-cp{python.replace('.', '')}-*_x86_64.whl")
    wheel = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if wheel is None or wheel.stat().st_mtime < _changed():
        missing = "no wheel" if wheel is None else "no wheel of this commit"
        print(f"{missing} with CUDA for Python {python} in dist/: the stage `wheel` will fail")
        return
    folder.mkdir()
    shutil.copy(wheel, folder)


def _changed() -> int:
    """When what a wheel is made of was committed last, in seconds since the epoch."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct", "HEAD", "--", *_WHEEL_SOURCES]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def make_models(folder: Path) -> None:
    """The networks that come from Keras; ResNet-50 is built where it is run."""
    import keras
    import tensorflow as tf

    import frn_onnx
    from frn_onnx.graph.conv_transpose import fix_conv_transpose
    from models import resnet20, unet

    folder.mkdir()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    network = resnet20()
    for weight in network.weights:
        if weight.name in ("gamma", "beta", "tau"):
            weight.assign(weight.numpy() + 0.2 * rng.standard_normal(weight.shape))
    images = rng.standard_normal((8, 32, 32, 3)).astype(np.float32)
    frn_onnx.export(network, folder / "resnet20.onnx", form="custom")
    logits = network(images).numpy()
    np.savez(folder / "resnet20.npz", images=images, logits=logits)

    image = tf.TensorSpec((1, 256, 256, 3), tf.float32, name="image")
    networks = {}
    for norm in ("frn", "relu"):
        keras.utils.set_random_seed(0)
        networks[norm] = unet((256, 256, 3), norm=norm)
    # In NHWC each FRN has a Transpose on either side, for ONNX Runtime to remove: prefer_nhwc.
    for name, norm, form, layout in (
        ("original", "frn", "primitives", "NCHW"),
        ("plugin", "frn", "custom", "NCHW"),
        ("plugin_nhwc", "frn", "custom", "NHWC"),
        ("relu", "relu", "primitives", "NCHW"),
    ):
        options = {"form": form, "layout": layout, "signature": (image,), "verify": False}
        model = frn_onnx.export(networks[norm], **options)
        fix_conv_transpose(model)
        half = frn_onnx.convert(model, "float16", keep_io_types=False)
        if norm == "frn":
            half = frn_onnx.lower(half, form)
        for dtype, made in (("float32", model), ("float16", half)):
            leave_out(made)
            onnx.save(made, folder / f"unet_{name}_{dtype}.onnx")


def archive(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:xz", preset=6) as target:
        target.add(folder, folder.name)


def share_out(wheels: Path, kit: Path) -> None:
    """Puts wheels into part2, part3 and so on, each filled as far as it may be."""
    number, room = 2, 0
    for wheel in sorted(wheels.iterdir(), key=lambda path: -path.stat().st_size):
        size = wheel.stat().st_size
        if size > room:
            folder, room = kit / f"part{number}" / "wheels", MOST_BYTES
            folder.mkdir(parents=True)
            number += 1
        shutil.move(wheel, folder)
        room -= size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the kit is put; replaced if it is there")
    parser.add_argument("--architecture", type=int, default=90, help="of the GPU, 90 for H100")
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU")
    arguments = parser.parse_args()
    folder = arguments.folder
    if folder.exists() and any(folder.iterdir()) and not (folder / "part1" / "kit.json").exists():
        raise SystemExit(f"{folder} holds something else than a kit; name another folder")
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    arguments.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as temporary:
        kit = Path(temporary, "kit")
        first = kit / "part1"
        first.mkdir(parents=True)
        download([_ORT], arguments.python, Path(temporary, "runtime"))
        (wheel,) = Path(temporary, "runtime").iterdir()
        pack_onnxruntime(wheel, arguments.architecture, first / "onnxruntime.tar.xz")
        make_models(Path(temporary, "models"))
        archive(Path(temporary, "models"), first / "models.tar.xz")
        add_wheel(arguments.python, first / "wheel")
        source = Path(temporary, "source.tar")
        subprocess.run([*git, "archive", "-o", str(source), "HEAD"], check=True)
        subprocess.run(["xz", "-6", str(source)], check=True)
        shutil.move(f"{source}.xz", first)
        download(_WHEELS, arguments.python, Path(temporary, "wheels"))
        share_out(Path(temporary, "wheels"), kit)
        facts = {
            "commit": commit.stdout.strip(),
            "onnxruntime": _ORT,
            "architecture": arguments.architecture,
            "python": arguments.python,
        }
        (first / "kit.json").write_text(json.dumps(facts, indent=1) + "\n")
        for part in sorted(kit.iterdir()):
            size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
            if size > MOST_BYTES:
                raise SystemExit(f"{part.name} has {size} bytes, expected at most {MOST_BYTES}")
            print(f"{part.name}: {size / 1e6:.1f} MB")
        shutil.rmtree(arguments.folder, ignore_errors=True)
        kit.rename(arguments.folder)


if __name__ == "__main__":
    main()

"""The golden file: inputs of FRN and what must come out, for builds on every platform.

Small enough to travel, and read by ``custom_ops/tests/golden_test.cc`` too, where there is no
Python: on Windows, under an emulator, under a sanitizer. The script writes it anew:

    python tests/golden.py

Little-endian, without padding:

    "FRNGOLD1", u32 number of cases, and for each case
    u32 length and the bytes of its name; u32 element type (ONNX); f32 the attribute epsilon;
    u32 rank, i64 each dimension of X; u32 number of axes, i64 each of them;
    u32 what is there beside gamma and beta: 1 tau, 2 epsilon, 4 residual; X and residual in X's
    type; gamma, beta, tau and epsilon of C values each, f64 where X is, f32 elsewhere; Y as f64;
    the error that each element of Y may have, as f32: 0 where it must be the same infinity, or NaN.
"""

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import native_cases
import numpy as np
import ort_models

from frn_onnx import op

PATH = Path(__file__).parent / "data" / "frn_golden.bin"
_MAGIC = b"FRNGOLD1"

# Every layout and rank; sizes around the widths of vectors, planes of one element, tails.
_SHAPES = [
    ((2, 3, 7, 7), (2, 3)),
    ((2, 7, 1, 1), (2, 3)),
    ((1, 2, 4, 8), (2, 3)),
    ((1, 1, 9, 15), (2, 3)),
    ((1, 3, 3, 17), (1, 2)),
    ((1, 2, 3, 33), (1, 2)),
    ((3, 5, 3, 1), (1, 2)),
    ((1, 4, 3, 7), (1, 3)),
    ((1, 2, 130), (2,)),
    ((1, 70, 3), (1,)),
    ((1, 2, 3, 2, 5), (2, 3, 4)),
    ((1, 3, 2, 3, 4), (-2, 1, 2)),
    ((1, 3, 2, 2, 5), (1, 2, 4)),
]
_AWKWARD = [((1, 4, 3, 3), (2, 3)), ((1, 3, 3, 4), (1, 2)), ((2, 4, 1, 1), (2, 3))]


@dataclasses.dataclass
class Case:
    """One call of FRN; parameters are (C,) in the type that kernels compute in."""

    name: str
    axes: tuple[int, ...]
    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    tau: np.ndarray | None = None
    epsilon: float = 1e-3  # the attribute
    epsilons: np.ndarray | None = None  # the input
    residual: np.ndarray | None = None
    y: np.ndarray | None = None
    allowed: np.ndarray | None = None

    def compute(self) -> None:
        """y and allowed, from the float64 reference."""
        axes = op.normalize_axes(self.axes)
        epsilon = np.float32(self.epsilon) if self.epsilons is None else self.epsilons
        arguments = (self.x, self.gamma, self.beta, self.tau, self.residual)
        with np.errstate(invalid="ignore", over="ignore"):
            self.y = native_cases.frn_of(*arguments, epsilon=epsilon, axes=axes)
            self.allowed = native_cases.allowed(self.y, *arguments, epsilon=epsilon, axes=axes)
        beyond = np.abs(self.y) > float(ml_dtypes.finfo(self.x.dtype).max) * 1.01
        self.y[beyond] = np.copysign(np.inf, self.y[beyond])
        self.allowed[~np.isfinite(self.y)] = 0


def make_cases() -> Iterator[Case]:
    rng = np.random.default_rng(1911_09737)
    for name, dtype in native_cases.DTYPES.items():
        param = native_cases.param_dtype(dtype)
        info = ml_dtypes.finfo(dtype)
        smallest, largest = float(info.smallest_subnormal), float(info.max)

        def case(about: str, shape, axes, dtype=dtype, name=name) -> Case:
            gamma, beta, tau = native_cases.make_params(
                rng, native_cases.channels_of(shape, axes), dtype
            )
            x = native_cases.make_x(rng, shape, dtype)
            return Case(f"{name} {about} {shape} {axes}", axes, x, gamma, beta, tau)

        for shape, axes in _SHAPES:
            yield case("ordinary", shape, axes)
        for shape, axes in _AWKWARD:
            made = case("without tau", shape, axes)
            made.tau = None
            yield made
            for value in (np.nan, np.inf, -np.inf):
                made = case(f"{value} in x", shape, axes)
                made.x.reshape(-1)[1] = value
                yield made
                for param_name in ("gamma", "beta", "tau", "epsilons"):
                    if param_name == "epsilons" and value < 0:
                        continue
                    made = case(f"{value} in {param_name}", shape, axes)
                    epsilons = np.linspace(0.2, 1.5, 4, dtype=np.float32)  # the op's type
                    made.epsilons = epsilons.astype(param)
                    getattr(made, param_name)[1] = value
                    yield made
            scales = {
                "subnormal x": (smallest, 1e-6),
                "subnormal x, epsilon 0": (smallest, 0.0),
                "tiny x, epsilon 0": (float(info.tiny) * 64, 0.0),
                "tiny x, epsilon 1e-40": (float(info.tiny) * 64, 1e-40),
                "huge x": (largest / 8, 1e-3),
                "x beyond the square root of the largest": (largest**0.5 * 2, 1e-3),
            }
            for about, (scale, epsilon) in scales.items():
                if dtype == np.float64 and scale not in (smallest,):
                    scale = 1e140 if scale > 1 else 1e-140  # its squares are doubles
                if dtype == np.float64 and scale == smallest and epsilon == 0:
                    continue
                made = case(about, shape, axes)
                made.epsilon = epsilon
                units = rng.integers(1, 8, shape) * rng.choice([-1.0, 1.0], shape)
                made.x = (units * scale).astype(dtype)
                yield made
            made = case("zeros of both signs, epsilon 0", shape, axes)
            made.epsilon = 0.0
            made.x = np.copysign(0.0, made.x.astype(np.float64)).astype(dtype)
            yield made
            tiny = float(ml_dtypes.finfo(param).smallest_subnormal)
            for about, factor in (("subnormal gamma", tiny * 5), ("huge gamma", 1e35)):
                made = case(about, shape, axes)
                made.gamma = (np.sign(made.gamma) * factor).astype(param)
                yield made


def make_residual_cases() -> Iterator[Case]:
    """Behind all others, whose numbers stay what they are."""
    rng = np.random.default_rng(1911_09738)
    for name, dtype in native_cases.DTYPES.items():
        for shape, axes in [((1, 4, 3, 3), (2, 3)), ((1, 3, 2, 4), (1, 2)), ((1, 5, 1, 1), (2, 3))]:
            channels = native_cases.channels_of(shape, axes)
            params = native_cases.make_params(rng, channels, dtype)
            x = native_cases.make_x(rng, shape, dtype)
            case = Case(f"{name} residual {shape} {axes}", axes, x, *params)
            case.residual = native_cases.make_residual(rng, shape, dtype)
            case.residual.reshape(-1)[1:4] = [np.nan, np.inf, -np.inf]
            yield case


def write(path: Path = PATH) -> None:
    cases = [*make_cases(), *make_residual_cases()]
    parts = [_MAGIC, struct.pack("<I", len(cases))]
    for case in cases:
        case.compute()
        name = case.name.encode()
        element = ort_models.ELEMENT_TYPES[case.x.dtype.name]
        optional = (case.tau, case.epsilons, case.residual)
        present = sum(1 << i for i, array in enumerate(optional) if array is not None)
        parts += [
            struct.pack("<I", len(name)),
            name,
            struct.pack("<If", element, case.epsilon),
            struct.pack(f"<I{case.x.ndim}q", case.x.ndim, *case.x.shape),
            struct.pack(f"<I{len(case.axes)}q", len(case.axes), *case.axes),
            struct.pack("<I", present),
        ]
        arrays = [case.x, case.residual, case.gamma, case.beta, case.tau, case.epsilons]
        parts += [array.tobytes() for array in arrays if array is not None]
        upwards = np.nextafter(case.allowed.astype(np.float32), np.float32(np.inf))
        exact = np.where(case.allowed == 0, np.float32(0), upwards)
        parts += [case.y.tobytes(), exact.tobytes()]
    path.write_bytes(b"".join(parts))


def read(path: Path = PATH) -> list[Case]:
    data, at = path.read_bytes(), len(_MAGIC)
    assert data[:at] == _MAGIC

    def take(code: str) -> tuple:
        nonlocal at
        values = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize("<" + code)
        return values

    def array(dtype, shape) -> np.ndarray:
        nonlocal at
        count = int(np.prod(shape))
        values = np.frombuffer(data, dtype, count, at).reshape(shape).copy()
        at += values.nbytes
        return values

    types = {number: np.dtype(name) for name, number in ort_models.ELEMENT_TYPES.items()}
    cases = []
    (count,) = take("I")
    for _ in range(count):
        (length,) = take("I")
        name = take(f"{length}s")[0].decode()
        element, epsilon = take("If")
        shape = take(f"{take('I')[0]}q")
        axes = take(f"{take('I')[0]}q")
        (present,) = take("I")
        dtype = types[element]
        channels = (native_cases.channels_of(shape, axes),)
        param = native_cases.param_dtype(dtype)
        x = array(dtype, shape)
        residual = array(dtype, shape) if present & 4 else None
        case = Case(name, axes, x, array(param, channels), array(param, channels))
        case.residual = residual
        case.epsilon = epsilon
        case.tau = array(param, channels) if present & 1 else None
        case.epsilons = array(param, channels) if present & 2 else None
        case.y, case.allowed = array(np.float64, shape), array(np.float32, shape)
        cases.append(case)
    assert at == len(data)
    return cases


if __name__ == "__main__":
    write()
    print(f"{PATH}: {len(read())} cases, {PATH.stat().st_size} bytes")

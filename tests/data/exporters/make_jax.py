"""Makes jax_*.onnx: FRN and its near misses as jax2onnx writes them.

    python make_jax.py [FOLDER]

Needs jax and jax2onnx. Every form is an output of its own behind a convolution of its own; the
metadata entry "forms" names them in order. Names that begin with "miss" are not FRN.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax2onnx import to_onnx

CHANNELS = 6
RNG = np.random.default_rng(0)


def random(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


GAMMA, BETA, TAU = random(CHANNELS), random(CHANNELS), random(CHANNELS)
EPSILON = jnp.asarray([1e-2], jnp.float32)


def nu2(x, axes=(1, 2)):
    return jnp.mean(jnp.square(x), axis=axes, keepdims=True)


def tlu(normal):
    return jnp.maximum(GAMMA * normal + BETA, TAU)


def affine(x):
    return GAMMA * (x * jax.lax.rsqrt(nu2(x) + 1e-6)) + BETA


FORMS = {
    "paper": lambda x: tlu(x * jax.lax.rsqrt(nu2(x) + 1e-6)),
    "division": lambda x: tlu(x / jnp.sqrt(nu2(x) + 1e-6)),
    "power": lambda x: tlu(x * jax.lax.rsqrt(jnp.mean(x**2, (1, 2), keepdims=True) + 1e-6)),
    "learned_epsilon": lambda x: tlu(x * jax.lax.rsqrt(nu2(x) + 1e-6 + jnp.abs(EPSILON))),
    "scale_folded": lambda x: jnp.maximum(x * (GAMMA * jax.lax.rsqrt(nu2(x) + 1e-6)) + BETA, TAU),
    "relu": lambda x: jax.nn.relu(affine(x)),
    "where": lambda x: jnp.where(affine(x) > TAU, affine(x), TAU),
    "swish": lambda x: jax.nn.swish(affine(x)),
    "channels_first": lambda x: jnp.moveaxis(
        jnp.moveaxis(x, -1, 1)
        * jax.lax.rsqrt(jnp.mean(jnp.square(jnp.moveaxis(x, -1, 1)), (2, 3), keepdims=True) + 1e-6),
        1,
        -1,
    ),
    "miss_epsilon_outside": lambda x: tlu(x / (jnp.sqrt(nu2(x)) + 1e-2)),
    "miss_floor": lambda x: tlu(x * jax.lax.rsqrt(jnp.maximum(nu2(x), 1e-2))),
    "miss_over_channels": lambda x: tlu(x * jax.lax.rsqrt(nu2(x, (-1,)) + 1e-6)),
    "miss_over_height": lambda x: tlu(x * jax.lax.rsqrt(nu2(x, (1,)) + 1e-6)),
}
KERNELS = {name: random(1, 1, CHANNELS, CHANNELS) * 0.5 for name in FORMS}


def network(x):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return tuple(
        form(
            jax.lax.conv_general_dilated(
                x, KERNELS[name], (1, 1), "SAME", dimension_numbers=dimensions
            )
        )
        for name, form in FORMS.items()
    )


def main(folder: Path) -> None:
    # At opset 17 and below jax2onnx writes ReduceMean with axes as an input: no valid model.
    for name, opset, shape in (
        ("jax_dynamic.onnx", 18, ("B", "H", "W", CHANNELS)),
        ("jax_static.onnx", 23, (3, 5, 7, CHANNELS)),
    ):
        model = to_onnx(network, [shape], model_name="frn", opset=opset)
        onnx.helper.set_model_props(model, {"forms": ",".join(FORMS)})
        onnx.save(model, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

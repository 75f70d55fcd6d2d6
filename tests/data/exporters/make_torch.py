"""Makes torch_*.onnx: FRN and its near misses as PyTorch's two exporters write them.

    python make_torch.py [FOLDER]

Needs torch, onnxscript and onnxconverter-common. Every form is an output of its own behind a
convolution of its own; the metadata entry "forms" names them in order. Names that begin with
"miss" are not FRN.
"""

import sys
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnxconverter_common import float16
from torch import nn

CHANNELS, HEIGHT, WIDTH = 6, 5, 7


class Layer(nn.Module):
    """Parameters, and the paper's formula in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.gamma, self.beta, self.tau = (
            nn.Parameter(torch.randn(1, CHANNELS, 1, 1)) for _ in range(3)
        )
        self.epsilon = nn.Parameter(torch.tensor([1e-2]))

    def forward(self, x):
        return self.form(self.conv(x) + 0.3)

    def inverse(self, x):
        return torch.rsqrt(x.pow(2).mean((2, 3), keepdim=True) + 1e-6)

    def affine(self, x):
        return self.gamma * (x * self.inverse(x)) + self.beta

    def tlu(self, normal):
        return torch.max(self.gamma * normal + self.beta, self.tau)


FORMS: dict[str, type[Layer]] = {}
# These hold H and W as numbers.
STATIC = {"average_pool", "rms_norm", "l2_squared"}
# What is also made float16. The tool makes no valid model of shape arithmetic.
HALF = [
    "paper",
    "one_over_sqrt",
    "division",
    "xseg",
    "power_minus_half",
    "scale_folded",
    "no_affine",
    "affine_tlu",
    "relu_shifted",
    "where_greater",
    "clamp_scalar",
    "swish",
    "adaptive_pool",
    "channels_last_inside",
    "miss_epsilon_outside",
    "miss_floor",
    "miss_over_height",
    "miss_instance_norm",
]


def form(function):
    FORMS[function.__name__] = type(function.__name__, (Layer,), {"form": function})
    return function


@form
def paper(self, x):
    return self.tlu(x * self.inverse(x))


@form
def square(self, x):
    return self.tlu(x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-6))


@form
def one_over_sqrt(self, x):
    return self.tlu(x * 1 / torch.sqrt(x.pow(2).mean((2, 3), keepdim=True) + abs(1e-6)))


@form
def division(self, x):
    return self.tlu(x / torch.sqrt(x.pow(2).mean((2, 3), keepdim=True) + 1e-6))


@form
def xseg(self, x):
    nu2 = x.pow(2).mean((2, 3), keepdim=True)
    return self.tlu(x * (1.0 / torch.sqrt(nu2 + self.epsilon.abs())))


@form
def power_minus_half(self, x):
    return self.tlu(x * torch.pow(x.pow(2).mean((2, 3), keepdim=True) + 1e-6, -0.5))


@form
def power_half(self, x):
    return self.tlu(x / torch.pow(x.pow(2).mean((2, 3), keepdim=True) + 1e-6, 0.5))


@form
def learned_epsilon(self, x):
    nu2 = x.pow(2).mean((2, 3), keepdim=True)
    return self.tlu(x * torch.rsqrt(nu2 + 1e-6 + self.epsilon.abs()))


@form
def epsilon_twice(self, x):
    nu2 = x.pow(2).mean((2, 3), keepdim=True)
    return self.tlu(x * torch.rsqrt(nu2 + self.epsilon.abs() + 1e-6))


@form
def sum_over_size(self, x):
    nu2 = (x * x).sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
    return self.tlu(x * torch.rsqrt(nu2 + 1e-6))


@form
def scale_folded(self, x):
    return torch.max(x * (self.gamma * self.inverse(x)) + self.beta, self.tau)


@form
def gamma_first(self, x):
    return torch.max((self.gamma * x) * self.inverse(x) + self.beta, self.tau)


@form
def no_affine(self, x):
    return x * self.inverse(x)


@form
def affine_tlu(self, x):
    y = self.affine(x)
    return torch.max(y, self.gamma * y + self.tau)


@form
def relu_shifted(self, x):
    return F.relu(self.affine(x) - self.tau) + self.tau


@form
def where_greater(self, x):
    y = self.affine(x)
    return torch.where(y > self.tau, y, self.tau)


@form
def where_less(self, x):
    y = self.affine(x)
    return torch.where(y < self.tau, self.tau, y)


@form
def clamp_scalar(self, x):
    return torch.clamp(self.affine(x), min=-0.3)


@form
def clamp_tensor(self, x):
    return torch.clamp(self.affine(x), min=self.tau)


@form
def relu(self, x):
    return F.relu(self.affine(x))


@form
def relu6(self, x):
    return F.relu6(self.affine(x))


@form
def leaky_relu(self, x):
    return F.leaky_relu(self.affine(x), 0.1)


@form
def swish(self, x):
    return F.silu(self.affine(x))


@form
def gelu(self, x):
    return F.gelu(self.affine(x))


@form
def timm(self, x):
    kind = x.dtype
    rms = x.square().float().mean((2, 3), keepdim=True).add(1e-5).rsqrt().to(kind)
    x = x * rms.expand(x.shape)
    x = x * self.gamma.view(1, -1, 1, 1).to(kind) + self.beta.view(1, -1, 1, 1).to(kind)
    return torch.maximum(x, self.tau.view(1, -1, 1, 1))


@form
def adaptive_pool(self, x):
    return self.tlu(x * torch.rsqrt(F.adaptive_avg_pool2d(x * x, 1) + 1e-6))


@form
def average_pool(self, x):
    return self.tlu(x * torch.rsqrt(F.avg_pool2d(x * x, (HEIGHT, WIDTH)) + 1e-6))


@form
def rms_norm(self, x):
    return self.tlu(F.rms_norm(x, (HEIGHT, WIDTH), eps=1e-6))


@form
def negative_axes(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean((-1, -2), keepdim=True) + 1e-6))


@form
def dimensions_dropped(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean((2, 3)) + 1e-6)[:, :, None, None])


@form
def dimensions_viewed(self, x):
    inverse = torch.rsqrt(x.pow(2).mean((2, 3)) + 1e-6)
    return self.tlu(x * inverse.view(x.shape[0], x.shape[1], 1, 1))


@form
def plane_viewed(self, x):
    n, c, _, _ = x.shape
    nu2 = x.view(n, c, -1).pow(2).mean(-1)
    return self.tlu(x * torch.rsqrt(nu2 + 1e-6).view(n, c, 1, 1))


@form
def plane_flattened(self, x):
    flat = x.flatten(2)
    flat = flat * torch.rsqrt(flat.pow(2).mean(-1, keepdim=True) + 1e-6)
    return self.tlu(flat.view(x.shape))


@form
def two_means(self, x):
    nu2 = x.pow(2).mean(3, keepdim=True).mean(2, keepdim=True)
    return self.tlu(x * torch.rsqrt(nu2 + 1e-6))


@form
def l2_squared(self, x):
    nu2 = torch.norm(x, 2, (2, 3), keepdim=True) ** 2 / (HEIGHT * WIDTH)
    return self.tlu(x / torch.sqrt(nu2 + 1e-6))


@form
def channels_last_inside(self, x):
    x = x.permute(0, 2, 3, 1)
    normal = x * torch.rsqrt(x.pow(2).mean((1, 2), keepdim=True) + 1e-6)
    y = torch.max(self.gamma.view(-1) * normal + self.beta.view(-1), self.tau.view(-1))
    return y.permute(0, 3, 1, 2)


@form
def scalar_parameters(self, x):
    return torch.max(1.5 * (x * self.inverse(x)) + 0.25, self.tau)


@form
def beta_subtracted(self, x):
    return torch.max(self.gamma * (x * self.inverse(x)) - self.beta, self.tau)


@form
def miss_epsilon_outside(self, x):
    return self.tlu(x / (torch.sqrt(x.pow(2).mean((2, 3), keepdim=True)) + 1e-2))


@form
def miss_floor(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean((2, 3), keepdim=True).clamp(min=1e-2)))


@form
def miss_over_height(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean(2, keepdim=True) + 1e-6))


@form
def miss_over_batch(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean((0, 2, 3), keepdim=True) + 1e-6))


@form
def miss_over_channels(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6))


@form
def miss_over_all(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean((1, 2, 3), keepdim=True) + 1e-6))


@form
def miss_first_sample(self, x):
    return self.tlu(x * torch.rsqrt(x.pow(2).mean(3, keepdim=True)[0].expand_as(x) + 1e-6))


@form
def miss_mean_of_x(self, x):
    return self.tlu(x * torch.rsqrt(x.mean((2, 3), keepdim=True).abs() + 1e-2))


@form
def miss_instance_norm(self, x):
    x = x - x.mean((2, 3), keepdim=True)
    return self.tlu(x * self.inverse(x))


@form
def miss_group_rms(self, x):
    flat = x.reshape(x.shape[0], 2, -1)
    flat = flat * torch.rsqrt(flat.pow(2).mean(-1, keepdim=True) + 1e-6)
    return self.tlu(flat.reshape(x.shape))


@form
def miss_group_norm(self, x):
    return F.group_norm(x, 2)


@form
def miss_l2(self, x):
    return self.tlu(F.normalize(x.flatten(2), dim=2).view(x.shape))


@form
def miss_variance(self, x):
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), keepdim=True, unbiased=False)
    return self.tlu((x - mean) / torch.sqrt(variance + 1e-6))


@form
def miss_squeeze_excite(self, x):
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True) * self.gamma)


class Forms(nn.Module):
    """All forms side by side."""

    def __init__(self, names) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names = list(names)
        self.layers = nn.ModuleList(FORMS[name]() for name in names)

    def forward(self, x):
        return tuple(layer(x) for layer in self.layers)


def export(path: Path, *, opset: int, dynamo: bool, dynamic: bool, without=()) -> onnx.ModelProto:
    names = [name for name in FORMS if not (dynamic and name in STATIC) and name not in without]
    options = {"opset_version": opset, "dynamo": dynamo, "input_names": ["x"]}
    # A prefix, for the dynamo exporter lets an output "relu" collide with a value of its own.
    options["output_names"] = [f"y_{name}" for name in names]
    if dynamo:
        free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
        options |= {"dynamic_shapes": (free,) if dynamic else None}
        options |= {"external_data": False, "verbose": False}
    elif dynamic:
        options["dynamic_axes"] = {"x": {0: "N", 2: "H", 3: "W"}}
    x = torch.randn(3, CHANNELS, HEIGHT, WIDTH)
    torch.onnx.export(Forms(names).eval(), (x,), path, **options)
    return save(onnx.load(path), names, path)


def save(model: onnx.ModelProto, names, path: Path) -> onnx.ModelProto:
    # PyTorch notes for every node where in this file it comes from: ten times the graph itself.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.helper.set_model_props(model, {"forms": ",".join(names)})
    onnx.save(model, path)
    return model


def main(folder: Path) -> None:
    export(folder / "torch_script_static.onnx", opset=15, dynamo=False, dynamic=False,
           without={"rms_norm", "where_less"})  # fmt: skip
    script = export(folder / "torch_script_dynamic.onnx", opset=17, dynamo=False, dynamic=True)
    export(folder / "torch_dynamo_static.onnx", opset=23, dynamo=True, dynamic=False)
    export(folder / "torch_dynamo_dynamic.onnx", opset=18, dynamo=True, dynamic=True)

    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(script))
    whole = extractor.extract_model(["x"], [f"y_{name}" for name in HALF])
    half = float16.convert_float_to_float16(whole)
    save(half, HALF, folder / "torch_float16.onnx")
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, "Pow", "ReduceMean", "GlobalAveragePool", "Sqrt"]
    whole = extractor.extract_model(["x"], [f"y_{name}" for name in HALF])
    mixed = float16.convert_float_to_float16(whole, op_block_list=blocked)
    save(mixed, HALF, folder / "torch_float16_mixed.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

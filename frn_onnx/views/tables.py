"""What ``inspect`` found, for a terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from frn_onnx.graph.summary import FrnNode, ModelInfo, Parameter, shape_text

_FORMS = {
    "portable": "FRN nodes with a function body; runs everywhere, faster with the plugin",
    "custom": "FRN nodes alone; runs only with the plugin",
    "primitives": "standard ops only; runs everywhere",
}
_MOST_OPS = 8
# Of the columns: layout, X, epsilon, gamma, beta, tau.
_WIDTHS = (6, 20, 7, 13, 13, 13)


def info_view(info: ModelInfo) -> RenderableType:
    """A summary of the model, and its FRN nodes as a table."""
    summary = Table.grid(padding=(0, 2))
    summary.add_column(style="bold")
    for heading, text in _summary(info):
        summary.add_row(heading, Text(text))
    return Group(summary, Text(), _frn_table(info)) if info.frn else summary


def _summary(info: ModelInfo) -> list[tuple[str, str]]:
    frequent = list(info.ops.items())[:_MOST_OPS]
    ops = ", ".join(f"{count} {op}" for op, count in frequent)
    if len(info.ops) > len(frequent):
        ops += f", and {len(info.ops) - len(frequent)} other ops"
    opsets = ", ".join(f"{domain or 'standard'} {v}" for domain, v in info.opsets.items())
    large = info.size_bytes >= 1e6
    size = f"{info.size_bytes / 1e6:.1f} MB" if large else f"{info.size_bytes / 1e3:.1f} kB"
    if info.external_files:
        size += f", weights in {', '.join(info.external_files)}"
    rows = [
        ("model", info.name),
        ("form", f"{info.form}: {_FORMS[info.form]}"),
        ("opsets", f"{opsets}; IR version {info.ir_version}"),
        ("inputs", "\n".join(f"{name}  {type_}" for name, type_ in info.inputs.items())),
        ("outputs", "\n".join(f"{name}  {type_}" for name, type_ in info.outputs.items())),
        ("size", size),
        ("nodes", f"{info.nodes}: {ops}"),
    ]
    if info.producer:
        rows.insert(1, ("made by", info.producer))
    if info.fusible:
        rows.append(("FRN layers", f"{info.fusible} in standard ops, which fuse would find"))
    if info.foreign_domains:
        domains = ", ".join(info.foreign_domains)
        rows.append(("needs", f"a library for the ops of the domain {domains}"))
    return rows


def _frn_table(info: ModelInfo) -> RenderableType:
    """Two lines a node, since names are long and 80 columns are few: the name, then the rest."""
    parts: list[RenderableType] = [
        Text(f"FRN nodes: {len(info.frn)}", style="bold"),
        _columns("layout", "X", "epsilon", "gamma", "beta", "tau", style="dim"),
    ]
    for node in info.frn:
        parts += [Text(node.name, style="cyan"), _columns(node.layout, *_cells(node))]
    return Group(*parts)


def _columns(*cells: str, style: str = "") -> Table:
    """One line, its columns as wide as in every other line."""
    line = Table.grid(padding=(0, 1))
    for width in _WIDTHS:
        line.add_column(min_width=width, no_wrap=True, overflow="ellipsis", style=style)
    line.add_row(*cells)
    return line


def _cells(node: FrnNode) -> list[str]:
    values = dict(node.parameters)
    epsilon = _range(values["epsilon"]) if "epsilon" in values else f"{node.epsilon:.2g}"
    tau = _range(values["tau"]) if "tau" in values else "none"
    x = f"{node.dtype or '?'} {shape_text(node.shape)}"
    return [x, epsilon, _range(values["gamma"]), _range(values["beta"]), tau]


def _range(parameter: Parameter | None) -> str:
    if parameter is None:
        return "computed"
    if parameter.minimum == parameter.maximum:
        return f"{parameter.minimum:.2g}"
    return f"{parameter.minimum:.2g}..{parameter.maximum:.2g}"

"""Which forms of FRN fuse finds in whose files: writes the tables of docs/fuse.md.

    python tests/exporter_table.py

tries every exporter that the tests try, writes what came of it to ``data/exporters/table.json``,
and from that the tables. Takes some minutes, most of them for TensorFlow.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import exporter_files
import onnx
from exporter_files import FILES, FLOAT32, LEVELS
from generated import table, write_sections

from frn_onnx.graph.comparison import verify
from frn_onnx.graph.fusion import fuse

RESULTS = exporter_files.FOLDER / "table.json"
PAGE = Path(__file__).parents[1] / "docs" / "fuse.md"
MISS = "miss_"
# What a file is called in the table, by the beginning of its name.
EXPORTERS = {
    "jax": "jax2onnx",
    "keras_torch": "Keras on PyTorch",
    "torch_dynamo": "PyTorch, dynamo",
    "torch_float16": "PyTorch, onnxconverter-common float16",
    "torch_script": "PyTorch, TorchScript",
}
UNET = "tf2onnx, U-Net"

Case = tuple[str, str, Callable[[], onnx.ModelProto]]


def cases() -> Iterator[Case]:
    """Each exporter, which of its files, and how to get that."""
    for path in FILES:
        yield *_title(path), lambda path=path: onnx.load(path)
    for level in LEVELS:
        for path in FLOAT32:
            exporter, file = _title(path)
            name = f"ONNX Runtime, {level.upper()}"
            yield (
                name,
                f"{exporter}, {file}",
                lambda p=path, at=level: exporter_files.optimised(p, at),
            )
    for statistic in ("float16", "float32"):
        for path in FLOAT32:
            if path.name.startswith("torch"):
                exporter, file = _title(path)
                yield (
                    "ONNX Runtime, float16 tool",
                    f"{exporter}, {file}, statistic in {statistic}",
                    lambda p=path, kept=statistic: exporter_files.made_float16(p, kept),
                )
    import fuse_tensorflow

    for opset in (13, 15, 18):
        for optimised in (True, False):
            for between in (True, False):
                yield (
                    "tf2onnx" if optimised else "tf2onnx, not optimised",
                    "between convolutions" if between else "bare",
                    lambda o=opset, s=optimised, b=between: fuse_tensorflow.forms(
                        o, optimised=s, between_convolutions=b
                    ),
                )
    yield "Keras on TensorFlow", "its own export", fuse_tensorflow.keras_forms
    for norm in ("frn", "keras-frn"):
        for nchw in (False, True):
            yield (
                UNET,
                f"36 layers of {norm}, {'NCHW' if nchw else 'NHWC'}",
                lambda n=norm, turned=nchw: fuse_tensorflow.unet(n, inputs_as_nchw=turned),
            )


def row(exporter: str, file: str, model: onnx.ModelProto) -> dict[str, Any]:
    """What came of one file."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if exporter == UNET:
        result = fuse(model)
        report = verify(model, result.model, samples=1)
        counts = {"unet": len(result.fused)}
    else:
        outcome = exporter_files.try_forms(model)
        report, counts = outcome.report, outcome.counts
    return {
        "exporter": exporter,
        "file": file,
        "opset": opset,
        "fused": counts,
        "max_error": max(output.max_rel for output in report.outputs),
        "within_tolerance": report.ok,
    }


def expected(form: str) -> int:
    """How many FRN nodes there should be for a form."""
    if form == "unet":
        return 36
    return 0 if form.startswith(MISS) else 1


def tables(rows: list[dict[str, Any]]) -> str:
    """The tables of the page, in Markdown."""
    return f"{files_table(rows)}\n\n{forms_table(rows)}"


def files_table(rows: list[dict[str, Any]]) -> str:
    """One line per file."""
    head = ("exporter", "file", "opset", "fused", "left", "max error")
    lines = []
    for entry in rows:
        fused = {name: n for name, n in entry["fused"].items() if expected(name)}
        misses = {name: n for name, n in entry["fused"].items() if not expected(name)}
        error = f"{entry['max_error']:.1e}"
        lines.append(
            (
                entry["exporter"],
                entry["file"],
                str(entry["opset"]),
                f"{sum(fused.values())} of {sum(map(expected, fused))}",
                f"{sum(n == 0 for n in misses.values())} of {len(misses)}" if misses else "",
                error if entry["within_tolerance"] else f"**{error}**",
            )
        )
    return table(head, lines, right=(2, 3, 4, 5))


def forms_table(rows: list[dict[str, Any]]) -> str:
    """One line per form: in how many files of each exporter it became what it should."""
    rows = [entry for entry in rows if entry["exporter"] != UNET]
    exporters = list(dict.fromkeys(entry["exporter"] for entry in rows))
    forms = sorted({name for entry in rows for name in entry["fused"]}, key=_misses_last)
    lines = []
    for form in forms:
        cells = []
        for exporter in exporters:
            of = [e["fused"] for e in rows if e["exporter"] == exporter and form in e["fused"]]
            right = sum(counts[form] == expected(form) for counts in of)
            cells.append(f"{right} of {len(of)}" if of else "")
        verdict = "left" if form.startswith(MISS) else "fused"
        lines.append((form.removeprefix(MISS).replace("_", " "), verdict, *cells))
    return table(("form", "to be", *exporters), lines, right=range(2, len(exporters) + 2))


def _misses_last(form: str) -> tuple[bool, str]:
    return form.startswith(MISS), form


def _title(path: Path) -> tuple[str, str]:
    prefix = max((p for p in EXPORTERS if path.stem.startswith(p)), key=len)
    rest = path.stem.removeprefix(prefix).strip("_").replace("_", " ")
    return EXPORTERS[prefix], rest or "dynamic"


def main() -> None:
    rows = []
    for exporter, file, make in cases():
        rows.append(row(exporter, file, make()))
        print(exporter, "|", file, flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_sections(PAGE, {"tables": tables(rows)})
    wrong = [
        f"{entry['exporter']}, {entry['file']}: {name} became {count} FRN nodes"
        for entry in rows
        for name, count in entry["fused"].items()
        if count != expected(name)
    ]
    wrong += [f"{e['exporter']}, {e['file']}: error" for e in rows if not e["within_tolerance"]]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()

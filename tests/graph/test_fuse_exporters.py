"""Every form of FRN in the files of other exporters is fused, and no near miss.

The files are made by the scripts beside them; ``tests/envs/test_exporters.py`` makes them anew.
"""

import json

import exporter_files
import exporter_table
import generated
import onnx
import pytest
from exporter_files import FILES, FLOAT32, LEVELS


def stem(path):
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_file(path):
    assert path.stat().st_size < 200_000
    exporter_files.check(onnx.load(path))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("path", FLOAT32, ids=stem)
def test_optimised_by_onnx_runtime(path, level):
    exporter_files.check(exporter_files.optimised(path, level))


@pytest.mark.parametrize("statistic", ["float16", "float32"])
@pytest.mark.parametrize("path", [p for p in FLOAT32 if p.name.startswith("torch")], ids=stem)
def test_made_float16_by_onnx_runtime(path, statistic):
    exporter_files.check(exporter_files.made_float16(path, statistic))


def test_the_page_shows_what_was_found():
    """docs/fuse.md is made from the results, and every one of them is as it should be."""
    rows = json.loads(exporter_table.RESULTS.read_text())
    sections = {"tables": exporter_table.tables(rows)}
    page = exporter_table.PAGE
    assert page.read_text() == generated.with_sections(page, sections)
    for row in rows:
        assert row["within_tolerance"]
        for form, count in row["fused"].items():
            assert count == exporter_table.expected(form), (row["exporter"], row["file"], form)

"""The demo does the main job; shortened here, whole in ``make demo``.

examples/web takes the file that it writes: its page is tried here in Chromium, where that file is.
"""

import json
import shutil
from urllib.parse import urlsplit

import environments
import onnx
import pytest
import web_example
from serving import chromium

pytest.importorskip("keras")
pytest.importorskip("sklearn")

from frn_onnx import demo
from frn_onnx.cli import main


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    epochs = []
    folder = tmp_path_factory.mktemp("demo")
    result = demo.run(
        folder, epochs=4, progress=lambda epoch, accuracy: epochs.append((epoch, accuracy))
    )
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    return result


def test_the_network_learns(result):
    assert result.rows[0].name == "Keras"
    assert result.rows[0].accuracy > 0.9


def test_nothing_changes_but_the_speed(result):
    for row in result.rows[1:]:
        assert row.same_predictions
        assert row.accuracy == result.rows[0].accuracy
        # Probabilities of a network of about 20 operations in float32.
        assert row.max_error < 1e-5
        assert row.latency.median_ms > 0


def test_each_layer_is_one_node(result):
    rows = {row.name: row for row in result.rows}
    assert result.layers == 4
    assert rows["portable file, plugin"].nodes < rows["tf2onnx alone"].nodes / 3


def test_files_are_written(result):
    onnx.checker.check_model(str(result.onnx_path), full_check=True)
    assert result.keras_path.stat().st_size > 10_000
    assert result.picture_path.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in result.onnx_path.parent.iterdir()} == {
        "digits.keras",
        "digits.onnx",
        "digits.png",
    }


def test_command_prints_json(tmp_path, capsys):
    assert main(["demo", "--folder", str(tmp_path / "new"), "--epochs", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["layers"] == 4
    assert (tmp_path / "new" / "digits.onnx").is_file()


def test_command_prints_a_table(tmp_path, capsys):
    assert main(["demo", "--folder", str(tmp_path), "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    for heading in ("accuracy", "same classes", "max error", "nodes", "ms per batch"):
        assert heading in printed


def test_no_epochs(tmp_path, capsys):
    assert main(["demo", "--folder", str(tmp_path / "demo"), "--epochs", "0"]) == 1
    assert "epochs must be at least 1, received 0" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    """examples/web as its first lines make it."""
    made = tmp_path_factory.mktemp("web") / "web"
    fetched = shutil.ignore_patterns("node_modules", "package-lock.json", "*.onnx")
    shutil.copytree(web_example.SOURCE, made, ignore=fetched)
    (made / "node_modules").symlink_to(environments.node_modules())
    shutil.copy(result.onnx_path, made)
    return made


@pytest.fixture
def page(folder):
    with web_example.served(folder) as url, chromium.Page(width=760, height=560) as opened:
        opened.open(url)
        opened.wait("document.querySelectorAll('#bars li').length === 10")
        yield opened


def browser(test):
    """Marks a test of the page, which needs npm's packages and Chromium."""
    without = pytest.mark.skipif(chromium.path() is None, reason="Chromium is not installed here")
    return pytest.mark.network(pytest.mark.browser(without(test)))


@browser
@pytest.mark.parametrize("digit", web_example.DRAWN)
def test_the_page_reads_what_is_drawn(page, digit):
    for stroke in web_example.DRAWN[digit]:
        web_example.draw(page, [stroke])
    page.wait(f"document.querySelector('#answer').textContent === '{digit}'")
    found = web_example.shares(page)
    assert sum(found) == pytest.approx(1, abs=1e-4)
    assert found.index(max(found)) == digit
    assert page.problems == []


@browser
def test_the_page_asks_no_other_host(page):
    web_example.draw(page, web_example.DRAWN[1])
    hosts = {urlsplit(url).hostname for url in page.urls if url.startswith("http")}
    assert hosts == {"127.0.0.1"}
    assert any(url.endswith(".wasm") for url in page.urls)


@browser
def test_clear_begins_anew(page):
    web_example.draw(page, web_example.DRAWN[1])
    page.evaluate("document.querySelector('#clear').click()")
    assert page.evaluate("document.querySelector('#answer').textContent") == ""
    assert web_example.shares(page) == [0] * 10
    web_example.draw(page, web_example.DRAWN[7])  # of two strokes, each of which is read
    page.wait("document.querySelector('#answer').textContent === '7'")


@browser
def test_without_the_model_the_page_says_how_to_begin(folder):
    (folder / "digits.onnx").rename(folder / "away.onnx")
    try:
        with web_example.served(folder) as url, chromium.Page() as page:
            page.open(url)
            page.wait("!document.querySelector('#problem').hidden")
            text = page.evaluate("document.querySelector('#problem').textContent")
    finally:
        (folder / "away.onnx").rename(folder / "digits.onnx")
    assert "how to begin stands at the top of index.html" in text

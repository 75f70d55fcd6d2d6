"""The status page in headless Chromium."""

from urllib.parse import urlsplit

import pytest
from serving import chromium, example_models, processes

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.path() is None, reason="Chromium is not installed here"),
]
TIMES = "\N{MULTIPLICATION SIGN}"
MODELS = ("linear", "frn", "two_inputs", "every_datatype", "texts")


@pytest.fixture
def open_page(tmp_path):
    """``open_page("linear")``: the page of a server with that model, ready to be used."""
    stack = []

    def make(name: str, **options):
        path = getattr(example_models, name)(tmp_path)
        running = processes.start(
            *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
        )
        server = running.__enter__()
        stack.append(running)
        page = chromium.Page(**options)
        stack.append(page)
        page.open(f"http://127.0.0.1:{server.port}/")
        page.wait("document.querySelector('#fields fieldset')")
        return page, server

    yield make
    for context in reversed(stack):
        context.__exit__(None, None, None)


def text(page, selector):
    return page.evaluate(f"document.querySelector({selector!r}).innerText")


def test_shows_the_model_and_its_state(open_page):
    page, server = open_page("linear")
    assert text(page, "#title") == "linear"
    assert text(page, "#inputs") == f"x\tFP32\tany {TIMES} 4"
    assert text(page, "#outputs") == f"y\tFP32\tany {TIMES} 3"
    page.wait("document.querySelector('#state').classList.contains('ready')")
    assert text(page, "#state") == "ready"
    assert page.problems == []
    hosts = {urlsplit(url).netloc for url in page.urls if url.startswith("http")}
    assert hosts == {f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize("name", MODELS)
def test_the_form_sends_a_sample(open_page, name):
    page, _ = open_page(name)
    if name == "texts":
        page.evaluate("document.querySelector('#fields textarea').value = '[\"a\", \"ä\"]'")
    page.evaluate("document.querySelector('#send').click()")
    page.wait("document.querySelector('#count').innerText === '1'")
    assert text(page, "#error") == ""
    assert text(page, "#failed") == "0"
    assert text(page, "#last").endswith(" ms")
    assert page.evaluate("document.querySelector('#chart .trace') !== null")
    assert page.problems == []


def test_own_values_reach_the_model(open_page):
    page, _ = open_page("two_inputs")
    for index, values in enumerate(("[2, 3]", "[10, 20]")):
        page.evaluate(
            f"""(() => {{
                const box = document.querySelectorAll('#fields fieldset')[{index}];
                box.querySelector('select').value = 'own';
                box.querySelector('select').onchange();
                box.querySelector('textarea').value = '{values}';
            }})()"""
        )
    page.evaluate("document.querySelector('#send').click()")
    page.wait("document.querySelector('#answer .bars')")
    answer = " ".join(text(page, "#answer").split())
    shape = f"1 {TIMES} 2"
    assert answer == f"total FP32 {shape} 1 23 0 12 product FP32 {shape} 1 60 0 20"


def test_an_error_is_shown_in_the_servers_words(open_page):
    page, _ = open_page("linear")
    page.evaluate("document.querySelector('#shape-x').value = '1, 5'")
    page.evaluate("document.querySelector('#send').click()")
    page.wait("document.querySelector('#error').innerText")
    assert "input 'x' must have shape [-1, 4]" in text(page, "#error")
    assert text(page, "#failed") == "1"


def test_latency_is_live_and_so_are_the_servers_figures(open_page):
    page, server = open_page("linear")
    page.evaluate("document.querySelector('#repeat').click()")
    page.wait("Number(document.querySelector('#count').innerText) > 20")
    page.wait("Number(document.querySelector('#rate').innerText) > 1")
    assert text(page, "#mean").endswith(" ms")
    page.evaluate("document.querySelector('#repeat').click()")
    server.stop()
    page.wait("document.querySelector('#state-text').innerText === 'not reachable'")

"""The status page in headless Chromium."""

import ast
import json
from urllib.parse import urlsplit

import environments
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

    def make(*names: str, **options):
        paths = [getattr(example_models, n)(tmp_path) if isinstance(n, str) else n for n in names]
        running = processes.start(
            *processes.CLI, "serve", *paths, "--port", "0", log=tmp_path / "log"
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


def test_several_models(open_page, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    page, _ = open_page("linear", broken, "two_inputs")
    names = "[...document.querySelectorAll('#models button')].map((b) => b.innerText)"
    assert page.evaluate(names) == ["linear", "two_inputs", "broken"]
    assert page.evaluate("document.querySelectorAll('#models button')[2].disabled")
    assert "broken.onnx" in text(page, "#models p")
    page.evaluate("document.querySelectorAll('#models button')[1].click()")
    page.wait("document.querySelector('#title').innerText === 'two_inputs'")
    pressed = "[...document.querySelectorAll('#models button')].map((b) => b.ariaPressed)"
    assert page.evaluate(pressed) == ["false", "true", "false"]
    page.evaluate("document.querySelector('#send').click()")
    page.wait("document.querySelector('#answer .bars')")
    assert text(page, "#answer").startswith("total")
    assert page.problems == []


def test_names_are_never_code(open_page, tmp_path):
    path, x, y = example_models.hostile_names(tmp_path)
    page, _ = open_page(path)
    assert text(page, "#inputs .code") == x
    assert page.evaluate("document.title") == "hostile"
    assert page.evaluate("document.querySelector('img')") is None
    tree = ast.parse(page.evaluate("document.querySelector('#snippet').textContent"))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {x, y, "hostile"} <= strings
    page.evaluate("document.querySelector('#send').click()")
    page.wait("document.querySelector('#answer .bars')")
    assert text(page, "#answer").startswith(y)
    assert page.problems == []


@pytest.mark.clients
@pytest.mark.parametrize("name", ["two_inputs", "every_datatype", "texts"])
def test_the_python_on_the_page_runs(open_page, name):
    page, _ = open_page(name)
    code = page.evaluate("document.querySelector('#snippet').textContent")
    assert environments.run("clients", "-c", code).count("[[") >= 1


# A picture of 6 x 5, red on the left third, blue elsewhere, but for one green corner; dropped.
DROP = """(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 6, height: 5 });
    const paint = canvas.getContext('2d');
    const parts = [['#00f', 0, 0, 6, 5], ['#f00', 0, 0, 2, 5], ['#0f0', 5, 4, 1, 1]];
    for (const [colour, ...where] of parts) {
        paint.fillStyle = colour;
        paint.fillRect(...where);
    }
    const blob = await new Promise((done) => canvas.toBlob(done));
    const data = new DataTransfer();
    data.items.add(new File([blob], 'picture.png', { type: 'image/png' }));
    const options = { dataTransfer: data, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new DragEvent('drop', options));
})()"""
SENT = """(() => {
    const plain = globalThis.fetch;
    globalThis.sent = [];
    globalThis.fetch = async (path, options) => {
        const answer = await plain(path, options);
        if (path.endsWith('/infer')) sent.push(await answer.clone().json());
        return answer;
    };
})()"""


def drop_image(page):
    """The outputs of the request that a dropped image becomes."""
    page.evaluate(SENT)
    page.evaluate(DROP)
    page.wait("document.querySelector('#count').innerText === '1'")
    assert text(page, "#error") == ""
    return json.loads(page.evaluate("JSON.stringify(sent.at(-1).outputs)"))


def test_an_image_becomes_a_request_channels_first(open_page):
    page, _ = open_page("images")
    (output,) = drop_image(page)
    assert page.evaluate("document.querySelector('#shape-x').value") == "1, 3, 5, 6"
    assert output["data"] == pytest.approx([10 / 30, 1 / 30, 19 / 30], abs=1e-6)
    page.evaluate(
        "document.querySelector('#range').value = 'pixels as 0 to 255';"
        "document.querySelector('#range').onchange()"
    )
    page.wait("document.querySelector('#count').innerText === '2'")
    (output,) = json.loads(page.evaluate("JSON.stringify(sent.at(-1).outputs)"))
    assert output["data"] == pytest.approx([85, 255 / 30, 19 * 255 / 30], abs=1e-3)
    assert page.problems == []


def test_an_image_becomes_a_request_channels_last(open_page):
    page, _ = open_page("linear", "uint8_image")
    page.evaluate(DROP)
    page.wait("document.querySelector('#error').innerText")
    assert text(page, "#error") == "no input of linear takes an image"
    page.evaluate("document.querySelectorAll('#models button')[1].click()")
    page.wait("document.querySelector('#title').innerText === 'uint8_image'")
    (output,) = drop_image(page)
    red, blue, green = [255, 0, 0], [0, 0, 255], [0, 255, 0]
    row = [red] * 2 + [blue] * 4
    rows = [row, row, row, row, [*row[:5], green]]
    assert output["data"] == [value for row in rows for pixel in row for value in pixel]
    assert text(page, "#answer").endswith("and 78 more")
    assert page.problems == []


def test_what_is_no_image_is_said(open_page):
    page, _ = open_page("images")
    page.evaluate("take(new File(['text'], 'notes.txt'))")
    page.wait("document.querySelector('#error').innerText")
    assert text(page, "#error") == "notes.txt is not an image that this browser reads"
    page.evaluate("document.querySelector('#fields select').value = 'image'")
    page.evaluate("document.querySelector('#send').click()")
    page.wait("document.querySelector('#error').innerText.startsWith('drop')")


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

"""examples/web: the folder served, and a hand that draws on its page."""

import contextlib
import functools
import http.server
import json
import threading
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "examples" / "web"
# Lines as a hand draws them, in shares of the pad.
DRAWN = {
    0: [[(0.5, 0.1), (0.3, 0.25), (0.25, 0.5), (0.3, 0.75), (0.5, 0.9), (0.68, 0.75), (0.73, 0.5),
         (0.68, 0.25), (0.5, 0.1)]],
    1: [[(0.35, 0.3), (0.5, 0.1), (0.5, 0.9)]],
    4: [[(0.5, 0.1), (0.28, 0.55), (0.75, 0.55)], [(0.65, 0.35), (0.58, 0.9)]],
    7: [[(0.25, 0.1), (0.7, 0.1), (0.45, 0.9)], [(0.35, 0.5), (0.7, 0.5)]],
}  # fmt: skip


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The folder as ``python -m http.server`` serves it."""
    handler = functools.partial(_Files, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


_DRAW = """(strokes => {
  const pad = document.querySelector("#pad");
  const box = pad.getBoundingClientRect();
  pad.setPointerCapture = () => {};  // there is no pointer to capture
  pad.hasPointerCapture = () => true;
  for (const stroke of strokes) {
    const at = (kind, [x, y]) => pad.dispatchEvent(new PointerEvent(kind, {
      clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
    at("pointerdown", stroke[0]);
    stroke.slice(1).forEach((point) => at("pointermove", point));
    at("pointerup", stroke.at(-1));
  }
})"""


def draw(page, strokes):
    """Moves the pointer over the pad, and waits for the answer."""
    page.evaluate(f"{_DRAW}({json.dumps(strokes)})")
    page.wait("document.querySelector('#answer').textContent !== ''")


def shares(page):
    values = page.evaluate(
        "[...document.querySelectorAll('#bars b')].map(bar => parseFloat(bar.style.width) / 100)"
    )
    assert isinstance(values, list)
    return values

"""Takes docs/images/status-page.png: two models, and an image dropped on one of them.

python benchmarks/serving_picture.py
"""

import tempfile
from pathlib import Path

from bench_serving import MODEL, ROOT, make_model
from serving import chromium, example_models, processes

TARGET = ROOT / "docs" / "images" / "status-page.png"
# A house in the sun, as a file that is dropped.
DROP = """(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 400, height: 300 });
    const paint = canvas.getContext('2d');
    const draw = (colour, ...points) => {
        paint.fillStyle = colour;
        paint.fill(new Path2D('M' + points.map((p) => p.join()).join('L')));
    };
    const rectangle = (colour, x, y, w, h) => draw(colour, [x, y], [x + w, y], [x + w, y + h], [x, y + h]);
    rectangle('#9fd6f2', 0, 0, 400, 185);
    rectangle('#3f7d3f', 0, 185, 400, 115);
    rectangle('#8c5a3c', 90, 130, 120, 90);
    rectangle('#e9f3fa', 115, 155, 30, 30);
    rectangle('#e9f3fa', 160, 155, 30, 65);
    draw('#b5382c', [75, 130], [150, 70], [225, 130]);
    paint.fillStyle = '#ffd84a';
    paint.arc(310, 70, 36, 0, 7);
    paint.fill();
    const blob = await new Promise((done) => canvas.toBlob(done));
    const data = new DataTransfer();
    data.items.add(new File([blob], 'house.png', { type: 'image/png' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));
})()"""  # noqa: E501


def main() -> None:
    make_model()
    with tempfile.TemporaryDirectory() as folder:
        other = example_models.linear(Path(folder))
        command = (*processes.CLI, "serve", MODEL, other, "--port", "0")
        with (
            processes.start(*command, log=Path(folder, "log")) as server,
            chromium.Page(height=1400) as page,
        ):
            page.open(f"http://127.0.0.1:{server.port}/")
            page.wait("document.querySelector('#fields fieldset')")
            page.evaluate(DROP)
            page.wait("Number(document.querySelector('#count').innerText) > 0", 120)
            page.evaluate("document.querySelector('#repeat').click()")
            page.wait("Number(document.querySelector('#count').innerText) > 160", 120)
            page.wait("Number(document.querySelector('#rate').innerText) > 0.1")
            page.screenshot(TARGET)
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()

"""Takes docs/images/status-page.png: the status page of a ResNet-20-FRN, in headless Chromium.

python benchmarks/serving_picture.py
"""

import tempfile
from pathlib import Path

from bench_serving import ROOT, make_model, start
from serving import chromium

TARGET = ROOT / "docs" / "images" / "status-page.png"


def main() -> None:
    make_model()
    with (
        tempfile.TemporaryDirectory() as folder,
        start("embedded", Path(folder)) as server,
        chromium.Page(height=1250) as page,
    ):
        page.open(f"http://127.0.0.1:{server.port}/")
        page.wait("document.querySelector('#fields fieldset')")
        page.evaluate("document.querySelector('#repeat').click()")
        page.wait("Number(document.querySelector('#count').innerText) > 160", 120)
        page.wait("Number(document.querySelector('#rate').innerText) > 0.1")
        page.screenshot(TARGET)
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()

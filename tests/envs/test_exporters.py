"""The exporters of ``tests/data/exporters`` as they are today: files made anew, and fused."""

from pathlib import Path

import exporter_files
import onnx
import pytest

pytestmark = pytest.mark.exporters

# Script -> the environment it runs in.
SCRIPTS = {"make_torch.py": "torch", "make_keras_torch.py": "torch", "make_jax.py": "jax"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_files_made_anew(script, environment, tmp_path):
    path = exporter_files.FOLDER / script
    run = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    environment(SCRIPTS[script]).run(run, str(path), str(tmp_path))
    made = sorted(Path(tmp_path).glob("*.onnx"))
    kept = sorted(exporter_files.FOLDER.glob("*.onnx"))
    assert made
    assert {file.name for file in made} <= {file.name for file in kept}
    for file in made:
        exporter_files.check(onnx.load(file))

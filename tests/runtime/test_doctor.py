"""The doctor finds what is broken and says how to mend it."""

from frn_onnx.runtime import doctor, library


def test_a_whole_installation_is_well():
    report = doctor.examine()
    assert report.ok, report.to_dict()
    names = [check.name for check in report.checks]
    assert "session with the plugin" in names


def test_a_missing_library_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "gone.so")
    report = doctor.examine()
    assert not report.ok
    broken = {check.name: check.detail for check in report.checks if check.ok is False}
    assert set(broken) == {"native library", "session with the plugin"}
    assert "gone.so is missing" in broken["native library"]

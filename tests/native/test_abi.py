"""ort_abi.h against the official header: places, signatures, constants; and that a slip is seen."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CUSTOM_OPS = Path(__file__).parents[2] / "custom_ops"
HEADER = (CUSTOM_OPS / "ort_abi.h").read_text()
CONFORMANCE = CUSTOM_OPS / "tests" / "abi_conformance.cc"
pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler"),
]

# One slip each that compiles as C++: as it is written, as it must not be.
SLIPS = {
    "swapped arguments": (
        "(*CustomOpDomain_Add)(OrtCustomOpDomain* domain, const OrtCustomOp* op)",
        "(*CustomOpDomain_Add)(const OrtCustomOp* op, OrtCustomOpDomain* domain)",
    ),
    "lost const of a struct that both define": (
        "(*CustomOpDomain_Add)(OrtCustomOpDomain* domain, const OrtCustomOp* op)",
        "(*CustomOpDomain_Add)(OrtCustomOpDomain* domain, OrtCustomOp* op)",
    ),
    "another result": ("const OrtApi* (*GetApi)", "OrtApi* (*GetApi)"),
    "narrower index": (
        "(*KernelContext_GetInput)(const OrtKernelContext* context, size_t",
        "(*KernelContext_GetInput)(const OrtKernelContext* context, int",
    ),
    "one argument less": (
        "size_t total, size_t num_batch, void* user_data",
        "size_t total, void* user_data",
    ),
    "swapped callback arguments": ("void (*fn)(void*, size_t)", "void (*fn)(size_t, void*)"),
    "lost level of a pointer": (
        "OrtCustomOpDomain** out",
        "OrtCustomOpDomain* out",
    ),
    "neighbouring slot": ("void* unused_64[65 - 64];", "void* unused_64[66 - 64];"),
    "wrong number in the comment": ("/* 274 */", "/* 275 */"),
    "field of the op": (
        "void (*KernelDestroy)(void* kernel);",
        "int (*KernelDestroy)(void* kernel);",
    ),
    "fields of the op in another order": (
        "int (*GetStartVersion)(const OrtCustomOp* op);\n  int (*GetEndVersion)",
        "int (*GetEndVersion)(const OrtCustomOp* op);\n  int (*GetStartVersion)",
    ),
    "field left out": ("  void (*KernelDestroy)(void* kernel);\n", ""),
    "argument of a field": (
        "const OrtKernelInfo* info, void** kernel);",
        "const OrtKernelInfo* info, void* kernel);",
    ),
    "constant": ("ELEMENT_DATA_TYPE_BFLOAT16 = 16", "ELEMENT_DATA_TYPE_BFLOAT16 = 15"),
    "error code": ("ORT_INVALID_ARGUMENT = 2", "ORT_INVALID_ARGUMENT = 3"),
    "width of an enumeration": ("enum OrtMemType {", "enum OrtMemType : int64_t {"),
}


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """The folder of onnxruntime_c_api.h."""
    fetch = subprocess.run(
        ["sh", str(CUSTOM_OPS / "tests" / "fetch_ort_header.sh"), tmp_path_factory.mktemp("ort")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if fetch.returncode != 0:
        pytest.skip(f"no official header: {fetch.stderr.strip().splitlines()[-1]}")
    return Path(fetch.stdout.strip())


def struct(header: str, name: str) -> str:
    return re.search(rf"^struct {name} {{$(.*?)^}};$", header, re.MULTILINE | re.DOTALL)[1]


def names(header: str) -> list[str]:
    """The lines of abi_names.inc: all that ort_abi.h names."""
    slots = re.findall(r"/\* +(\d+) \*/ .*?\(\*(\w+)\)\(", struct(header, "OrtApi"))
    fields = re.findall(r"^  \S.*?\(\*(\w+)\)\(", struct(header, "OrtCustomOp"), re.MULTILINE)
    base = re.findall(r"\(\*(\w+)\)\(", struct(header, "OrtApiBase"))
    enums = re.findall(r"^enum (\w+)[^{]*{(.*?)}", header, re.MULTILINE | re.DOTALL)
    constants = [name for _, body in enums for name in re.findall(r"(\w+) = \d+", body)]
    return [
        *(f"FRN_SLOT({index}, {name})" for index, name in slots),
        *(f"FRN_FIELD({name})" for name in ["version", *fields]),
        *(f"FRN_BASE({name})" for name in base),
        *(f"FRN_ENUM({name})" for name, _ in enums),
        *(f"FRN_CONSTANT({name})" for name in constants),
    ]


def compile_against(official: Path, header: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "ort_abi.h").write_text(header)
    (folder / "abi_names.inc").write_text("\n".join(names(header)))
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wno-ignored-attributes", "-Werror"]
    command = ["c++", *flags, f"-I{folder}", f"-I{official}", CONFORMANCE]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_name_is_compared():
    """The lines that the names are read from are all there are."""
    lines = names(HEADER)
    assert sum("FRN_SLOT" in line for line in lines) == struct(HEADER, "OrtApi").count("(*") - 1
    assert sum("FRN_FIELD" in line for line in lines) == struct(HEADER, "OrtCustomOp").count(";")
    assert sum("FRN_BASE" in line for line in lines) == 2
    enumerators = re.findall(r"^ *(?:enum \w+ {)?.*?\w+ = \d+", HEADER, re.MULTILINE)
    assert sum("FRN_CONSTANT" in line for line in lines) >= len(enumerators) > 20


def test_conforms(official, tmp_path):
    result = compile_against(official, HEADER, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_seen(official, tmp_path, slip):
    written, wrong = SLIPS[slip]
    assert written in HEADER
    result = compile_against(official, HEADER.replace(written, wrong), tmp_path)
    assert result.returncode != 0
    assert "static assertion failed" in result.stderr

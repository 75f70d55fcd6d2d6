# What people and CI run. `make demo` and `make test` need Python >= 3.11, a C++17 compiler and
# PyPI; everything they install goes into .venv/.

PYTHON ?= python3
VENV := .venv
# Relative: make takes a space in a folder's name for the end of the name.
BIN := $(VENV)/bin
# Python compiles what it imports; all there is would take longer than fetching and unpacking it.
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip --quiet --disable-pip-version-check install --no-compile
# ARGS are handed to the command behind a target: make test ARGS="tests/native -k nhwc"
ARGS ?=
NATIVE_SOURCES := $(shell find custom_ops -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.ver' -o -name CMakeLists.txt)
CXX_FILES := $(filter %.cc %.h %.cu %.cuh,$(NATIVE_SOURCES))
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test test-bare lint format bench gpu-kit wheel test-wheel test-windows test-macos test-aarch64 sanitize cuda-check simt runtimes versions fuzz mutants clean

setup: $(VENV)/.setup

# The environment with what builds the package, in the versions CI uses.
$(VENV)/.tools: constraints.txt
	@$(PYTHON) custom_ops/prerequisites.py
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) pip setuptools wheel cmake ninja pybind11
	@touch $@

# The package as an editable install with everything it can use; the native build is incremental.
$(VENV)/.setup: $(VENV)/.tools pyproject.toml setup.py $(NATIVE_SOURCES)
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/frn-onnx demo $(ARGS)

# Files of tests side by side, in up to four processes; -n 0 does without.
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadfile
test: setup
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

# What a new user meets: a bare Debian, made in .envs/, in which the demo and a part of the tests run.
test-bare:
	$(PYTHON) tests/bare_machine.py $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# Every benchmark, about half an hour; the tables and plots come from the JSON it writes.
bench: setup
	cd benchmarks && for name in op model start fuse serving; do $(BIN)/python bench_$$name.py || exit 1; done
	$(BIN)/python benchmarks/report.py

# Graphs of FRN, changed at random, before and after fuse: new ones each time, the seed is printed.
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

# frn_onnx/graph broken in many small ways, which tests/graph must notice.
mutants: setup
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

# The CPU kernels and the ops under AddressSanitizer and UndefinedBehaviorSanitizer, with CASES of
# the fuzz driver; many threads under ThreadSanitizer.
CASES ?= 20000
SANITIZED = -G Ninja -DFRN_ONNX_TESTS=ON -DFRN_ONNX_CUDA=off -DFRN_ONNX_SANITIZE
sanitize: $(VENV)/.tools
	cmake -S custom_ops -B build/sanitize $(SANITIZED)=address,undefined
	cmake --build build/sanitize
	build/sanitize/tests/kernel_test
	build/sanitize/tests/golden_test tests/data/frn_golden.bin
	build/sanitize/tests/fuzz_test $(CASES)
	cmake -S custom_ops -B build/tsan $(SANITIZED)=thread
	cmake --build build/tsan --target threads_test
	build/tsan/tests/threads_test

# The CUDA kernels on the CPU, over every case; make test runs a quick subset.
simt: $(VENV)/.tools
	cmake -S custom_ops/tests/simt -B build/simt -G Ninja
	cmake --build build/simt
	build/simt/kernels_test --full

# The CUDA kernels compiled for every architecture: spills, instructions, waits, loads in flight,
# size. Needs no GPU.
cuda-check: $(VENV)/.tools
	$(BIN)/python custom_ops/tests/cuda_check.py

# Each form of a file in each runtime that the registries have: the table of docs/platforms.md.
runtimes: setup
	PYTHONPATH=tests $(BIN)/python -m runtimes $(ARGS)

# The wheels in dist/ with the oldest and the newest of what they go with: the table of
# docs/platforms.md. Needs python3.11, 3.12 and 3.13 on the path, and a wheel for each.
versions: setup
	PYTHONPATH=tests $(BIN)/python -m versions $(ARGS)

# What a machine with a GPU and without a network needs: benchmarks/gpu/README.md.
gpu-kit: setup
	$(BIN)/python benchmarks/gpu/kit.py build/gpu-kit $(ARGS)

# dist/: the source distribution and the wheel for this machine, or for ARGS, names of
# wheels/targets.py.
wheel: $(VENV)/.tools
	$(INSTALL) ziglang
	$(BIN)/python wheels/build.py $(ARGS)

# The wheel in dist/ for this machine, in an empty environment and away from the source.
test-wheel: $(VENV)/.tools
	$(BIN)/python tests/wheel_environment.py $(ARGS)

# The wheel for Windows in Windows' own ONNX Runtime, under Wine.
test-windows: setup
	@ls dist/*-win_amd64.whl >/dev/null 2>&1 || $(MAKE) wheel ARGS=windows-x64
	$(BIN)/python tests/windows_machine.py

# The wheels for macOS as files: what they export and need. Nothing here could run them.
test-macos: setup
	@test $$(ls dist/*-macosx_*.whl 2>/dev/null | wc -l) = 2 || $(MAKE) wheel ARGS="macos-arm64 macos-x86_64"
	$(BIN)/python tests/macos_files.py

# The wheel for Linux on aarch64 in a Debian of that kind, under QEMU; needs root.
test-aarch64: setup
	@ls dist/*_aarch64.whl >/dev/null 2>&1 || $(MAKE) wheel ARGS=linux-aarch64
	$(BIN)/python tests/aarch64_machine.py $(ARGS)

clean:
	rm -rf build dist .envs frn_onnx/*.so $(VENV)/.setup

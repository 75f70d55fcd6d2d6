#!/bin/bash
# One call on the machine with the GPU: bash benchmarks/gpu/call.sh KIT A|B|C OUT [run.py's options]
# Unpacks what an earlier call has not, and builds, in this checkout. Nothing is fetched, and nothing
# installed outside of $FRN_GPU_WORK (default: /tmp/frn-gpu).
set -euo pipefail
kit=$(realpath "$1"); call=$2; mkdir -p "$3"; out=$(realpath "$3"); shift 3
root=$(realpath "$(dirname "$0")/../..")
work=${FRN_GPU_WORK:-/tmp/frn-gpu}
site=$work/site        # ONNX Runtime
package=$work/package  # this one, built here
python=${PYTHON:-python3}
mkdir -p "$site"
export PYTHONPATH=$package:$site PYTHONUNBUFFERED=1 FRN_GPU_WORK=$work
pip=("$python" -m pip --disable-pip-version-check -q install --no-index --no-deps --target)

# KIT holds the parts, or is one; those after the first are for machines without the packages there.
for part in "$kit" "$kit"/part*; do
  if [ -f "$part/kit.json" ] && ! cmp -s "$part/kit.json" "$work/kit.json"; then
    if [ -f "$work/kit.json" ]; then rm -rf "$work"; mkdir -p "$site"; fi  # another kit's
    cp "$part/kit.json" "$work"
  fi
  for name in onnxruntime models; do
    if [ -f "$part/$name.tar.xz" ] && [ ! -f "$work/.$name" ]; then
      target=$work; [ $name = models ] || target=$site
      # Python's tarfile: a bare machine need not have xz.
      "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' \
        "$part/$name.tar.xz" "$target"
      touch "$work/.$name"
    fi
  done
  if [ -d "$part/wheel" ]; then
    export FRN_GPU_WHEEL=$work/wheel
    [ -d "$FRN_GPU_WHEEL" ] || "${pip[@]}" "$FRN_GPU_WHEEL" "$part"/wheel/*.whl
  fi
  if [ -d "$part/wheels" ]; then
    # A folder for each part, and one installation: pip leaves a bin/ that is there as it is.
    target=$work/$(basename "$part")
    if [ ! -f "$target/.installed" ]; then
      missing=()
      for wheel in "$part"/wheels/*.whl; do
        name=$(basename "$wheel" | cut -d- -f1)
        "$python" -c "import importlib.metadata as m; m.version('$name')" 2>/dev/null || missing+=("$wheel")
      done
      [ ${#missing[@]} -eq 0 ] || "${pip[@]}" "$target" --upgrade "${missing[@]}"
      mkdir -p "$target" && touch "$target/.installed"
    fi
    export PYTHONPATH=$PYTHONPATH:$target PATH=$target/bin:$PATH
  fi
done

# CUDA and cuDNN of PyTorch's wheels, for ONNX Runtime, which looks for them beside itself.
nvidia=$("$python" -c '
import pathlib, site, sys
folders = [p for s in sys.path for p in pathlib.Path(s).glob("nvidia/*/lib")]
print(":".join(map(str, folders)))')
export LD_LIBRARY_PATH=$nvidia${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

if [ -n "${FRN_GPU_DRY_RUN:-}" ]; then
  set -- --dry-run "$@"
  export FRN_ONNX_CUDA=${FRN_ONNX_CUDA:-off}
fi
# Once, and again where the sources were changed since.
built=$package/.built-cuda-${FRN_ONNX_CUDA:-on}
cd "$root"
if [ ! -f "$built" ] || [ -n "$(find custom_ops frn_onnx setup.py -newer "$built" -print -quit)" ]; then
  architecture=$("$python" -c "import json; print(json.load(open('$work/kit.json'))['architecture'])")
  FRN_ONNX_CUDA=${FRN_ONNX_CUDA:-on} \
    FRN_ONNX_CMAKE_ARGS="-DFRN_ONNX_CUDA_ARCHITECTURES=$architecture" \
    "${pip[@]}" "$package" --no-build-isolation --upgrade . >"$out/build.log" 2>&1 || { tail -40 "$out/build.log"; exit 1; }
  rm -f "$package"/.built-cuda-*; touch "$built"
fi
cd "$work"
exec "$python" "$root/benchmarks/gpu/run.py" --call "$call" --out "$out" --build "$work/build" "$@"

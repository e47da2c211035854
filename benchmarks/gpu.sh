#!/usr/bin/env bash
# All checks and benchmarks that need a GPU, in one go, within 8 minutes.
#
#   benchmarks/gpu.sh [WHEELS [OUTPUT]]
#
# WHEELS: a folder of wheels, for a machine without network; without it, or with "", pip's index is used. OUTPUT:
# where logs and JSON go (benchmarks/results). The python that has torch with CUDA is python3, or $PYTHON.
# What cannot be installed is left out, and named at the end. Exits with 1 if anything that ran has failed.
set -uo pipefail
cd "$(dirname "$0")/.."
wheels=${1:-} output=${2:-benchmarks/results} python=${PYTHON:-python3}
start=$SECONDS
mkdir -p "$output"
summary=() failed=0

left() { echo $((480 - (SECONDS - start))); }
note() {
  summary+=("$1")
  echo "== $1"
}
# run NAME SECONDS COMMAND…: at most so long, and never beyond the 8 minutes
run() {
  local name=$1 limit=$2 began=$SECONDS code
  shift 2
  ((limit > $(left))) && limit=$(left)
  if ((limit < 5)); then
    note "skipped $name: the 8 minutes are over"
    return 1
  fi
  echo "== $name"
  timeout "$limit" "$@" 2>&1 | tee "$output/gpu_${name// /_}.log"
  code=${PIPESTATUS[0]}
  if ((code == 0)); then
    note "passed $name ($((SECONDS - began)) s)"
  else
    note "FAILED $name (exit code $code after $((SECONDS - began)) s)"
    failed=1
  fi
  return "$code"
}

if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
  echo "$python has no torch that sees a GPU: set PYTHON to one that has" >&2
  exit 1
fi
"$python" -c "import torch; print(torch.__version__, torch.cuda.get_device_name(), torch.version.cuda)"
capability=$("$python" -c "import torch; print('%d%d' % torch.cuda.get_device_capability())")

environment=build/gpu
"$python" -m venv --system-site-packages "$environment" || exit 1
bin=$environment/bin
pip=("$bin/pip" install --quiet --disable-pip-version-check)
[[ -n $wheels ]] && pip+=(--no-index --find-links "$wheels")
extra() { # the requirements of an extra of pyproject.toml, one per line
  "$bin/python" -c "import sys, tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies'][sys.argv[1]], sep='\n')" "$1"
}

"${pip[@]}" "scikit-build-core>=0.11" "pybind11>=3.0" ninja || exit 1
if ! command -v nvcc > /dev/null; then
  note "skipped CUDA kernels: there is no nvcc"
fi
run build 240 "${pip[@]}" --no-build-isolation \
  --config-settings=build-dir=build/gpu-cmake \
  --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES="$capability" . || exit 1
for package in pytest hypothesis psutil matscipy; do
  "${pip[@]}" "$package" || note "skipped $package: it cannot be installed"
done
families=()
for family in chgnet mace matgl; do
  mapfile -t wanted < <(extra "$family")
  if "${pip[@]}" "${wanted[@]}"; then
    families+=("${family/matgl/tensornet}")
  else
    note "skipped $family: it cannot be installed"
  fi
done
mapfile -t wanted < <(extra bench)
"${pip[@]}" "${wanted[@]}" || note "skipped some peers: they cannot be installed"

# Tests are of the installed package, not of the source folder; scripts import from their own folder.
run "tests" 150 env PYTHONSAFEPATH=1 "$bin/python" -m pytest -q -m cuda tests
run "neighbour lists" 60 "$bin/python" benchmarks/bench_graphs.py partition --only gpu --output "$output/gpu_graphs.json"
for family in "${families[@]}"; do
  run "$family" 100 "$bin/python" benchmarks/bench_gpu.py "$family" --output "$output/gpu_$family.json"
done

echo
echo "== GPU checks, $((SECONDS - start)) s =="
printf '%s\n' "${summary[@]}"
exit "$failed"

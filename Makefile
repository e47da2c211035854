# make demo   the main job: pretrained CHGNet over 4 partitions on real input
# make test   every test that is not marked slow;  make test-slow   the rest
# make lint   formatters, linters, types, sizes, import directions
#
# Everything lives in .venv. A stamp file says that the package installed there is the current source, so
# that a second call starts at once.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
PYTEST_WORKERS ?= 2

BIN := $(VENV)/bin
SOURCES := $(shell find csrc cmake distmlip build_backend -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml README.md LICENSE
CXX_SOURCES := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

# A build folder of its own: CMake's cache remembers one environment's torch. No isolation: pybind11 then
# stays in one place and only what changed is compiled again.
INSTALL := CMAKE_BUILD_PARALLEL_LEVEL=$${CMAKE_BUILD_PARALLEL_LEVEL:-2} $(BIN)/pip install --quiet --no-build-isolation --config-settings=build-dir=build/make

# From the repository root `distmlip` would be the source folder, which has no compiled core.
RUN := PYTHONSAFEPATH=1 $(BIN)
PYTEST := OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(PYTEST_WORKERS) -rs

.PHONY: demo test test-slow lint format bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(RUN)/distmlip demo

test: $(VENV)/.test
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.test
	$(PYTEST) -m slow

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)
	$(BIN)/lizard --length 80 --CCN 15 --warnings_only csrc distmlip tests benchmarks
	$(RUN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench_step.py

clean:
	rm -rf $(VENV) build demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Torch first: a package that asks for a newer one would bring gigabytes of CUDA libraries.
$(VENV)/.torch: | $(BIN)/python
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet "scikit-build-core>=0.11" "pybind11>=3.0" ninja
	touch $@

$(VENV)/.demo: $(SOURCES) | $(VENV)/.torch
	$(INSTALL) ".[chgnet]"
	touch $@

$(VENV)/.test: $(SOURCES) | $(VENV)/.torch
	$(INSTALL) ".[chgnet,mace,test]"
	touch $@ $(VENV)/.demo

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['lint'])")
	touch $@

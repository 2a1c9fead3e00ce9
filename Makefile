# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || command -v python3)
VENV := .venv
ENGINES_VENV := .venv-engines
NEWEST_VENV := .venv-newest
OLDEST_VENV := .venv-oldest
PYTHON_NEWEST ?= python3.13
PYTHON_OLDEST ?= python3.11
BIN := $(VENV)/bin
CONFIG := src/potstill/templates/quickstart.yaml
RUN := runs/quickstart

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-gpu test-engines test-newest test-oldest lint docs bench
.NOTPARALLEL: # two pips must not write into one environment

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed-all ## structures -> labels -> dataset -> audit -> student that runs MD, then says where the report is
	$(BIN)/potstill run $(CONFIG) --out $(RUN) --yes $(if $(wildcard $(RUN)),--resume)
	$(BIN)/python $(RUN)/deploy/ase/run_md.py

# Two files at a time, each on one thread: most tests wait for processes that they start.
test: $(VENV)/.installed-test ## the test suite, without the slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-gpu: $(VENV)/.installed-test ## what needs a CUDA device
	$(BIN)/python -m pytest -m "gpu or not slow" tests/student/gpu
	$(BIN)/python -m pytest -m gpu tests/train

test-slow: $(VENV)/.installed-test ## the slow tests
	$(BIN)/python -m pytest -m slow

test-engines: $(ENGINES_VENV)/.installed ## one student in LAMMPS, OpenMM, TorchSim, metatomic, i-PI
	$(ENGINES_VENV)/bin/python -m pytest -m engines tests/deploy tests/test_examples.py

test-newest: $(NEWEST_VENV)/.installed ## the test suite on Python 3.13 with the newest versions of everything
	OMP_NUM_THREADS=1 $(NEWEST_VENV)/bin/python -m pytest -n 2 --dist loadfile

test-oldest: $(OLDEST_VENV)/.installed ## the test suite with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(OLDEST_VENV)/bin/python -m pytest -n 2 --dist loadfile \
		-W default::DeprecationWarning -W default::PendingDeprecationWarning \
		-W 'default:gcd is deprecated:FutureWarning' # of old packages beside new ones

lint: $(VENV)/.installed-lint ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.installed-docs ## the documentation, into site/
	$(BIN)/mkdocs build --strict

# Others are started by hand: runs/ takes hours, labelled/ needs a labelled dataset, engines/ an environment of its own.
BENCHMARKS := $(sort $(foreach d,student teachers data,$(wildcard benchmarks/$(d)/*.py)))

bench: $(VENV)/.installed-all ## the benchmarks that need no dataset, one after the other; results in benchmarks/results/
	@set -e; for script in $(BENCHMARKS:.py=); do echo "== $$script"; $(BIN)/python -m $$(echo $$script | tr / .); done

# A stamp per extra: installed again when pyproject.toml or constraints.txt is newer.
# The extra `all` comes with each of them, for the optional packages are tested and type-checked too.
$(VENV)/.installed-all: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

# PyTorch for CUDA brings its own Triton along, PyTorch for CPUs none: there its interpreter runs the GPU kernels' tests.
$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,test]'
	@if [ "$$(uname -sm)" = "Linux x86_64" ] && ! $(BIN)/python -c 'import triton' 2>/dev/null; then \
		$(BIN)/python -m pip install --quiet --no-deps triton==3.9.0; fi
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,$*]'
	@touch $@

# An environment of their own, for engines pin what other packages do not.
$(ENGINES_VENV)/.installed: pyproject.toml constraints.txt constraints-engines.txt | $(ENGINES_VENV)/bin/python
	$(ENGINES_VENV)/bin/python -m pip install --quiet -c constraints.txt -c constraints-engines.txt -e '.[test,engines]'
	@touch $@

# Without constraints: what a user gets who installs today, and the least that pyproject.toml promises to work with.
$(NEWEST_VENV)/.installed: pyproject.toml
	@$(PYTHON_NEWEST) -c '' || { echo 'choose Python 3.13 with: make test-newest PYTHON_NEWEST=/path/to/python3.13'; exit 1; }
	$(PYTHON_NEWEST) -m venv $(NEWEST_VENV)
	$(NEWEST_VENV)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e '.[all,test]'
	@touch $@

$(OLDEST_VENV)/.installed: pyproject.toml
	@$(PYTHON_OLDEST) -c '' || { echo 'choose Python 3.11 with: make test-oldest PYTHON_OLDEST=/path/to/python3.11'; exit 1; }
	$(PYTHON_OLDEST) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet uv
	$(OLDEST_VENV)/bin/python -m uv pip install --quiet --python $(OLDEST_VENV)/bin/python --resolution lowest-direct -e '.[all,test]'
	@touch $@

$(BIN)/python $(ENGINES_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit("potstill needs Python 3.11 to 3.13, found %d.%d; choose one with: make PYTHON=/path/to/python3.11" % v[:2])'
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)

# Two commands on a fresh machine: `make demo`, `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two jobs of one thread: two threads of one job gain little and spin when a neighbour is busy.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export MPLBACKEND ?= Agg
# Else each process that a test starts compiles the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup dev demo check lint format types docs links coverage test test-slow test-isa test-load \
	test-oldest net dist clean

setup: $(VENV)/.done

$(VENV)/.done: setup.cfg constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'alseg needs Python 3.11 or newer: make PYTHON=python3.11')"
	@echo "Setting up $(VENV), 2 GB: some minutes, in which nothing more is said."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

dev: $(VENV)/.dev

$(VENV)/.dev: $(VENV)/.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	rm -rf runs/demo
	$(BIN)/alseg run --data glands --strategy entropy --class-balanced --initial 4 --n-instances 4 \
		--rounds 5 --seed 0 --threads 2 --out runs/demo --report

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

# A part of the suite with the oldest versions that setup.cfg admits, in an environment of its own:
# the parts that call other libraries most.
OLDEST = tests/test_calling.py tests/test_validation.py tests/files tests/images tests/metrics \
	tests/network tests/training tests/datasets tests/query tests/segmenter/test_sklearn_checks.py \
	tests/segmenter/test_callbacks.py tests/learner/test_committee.py tests/experiment

# Pillow before 13 takes a small YCbCr TIFF for a truncated one.
ODD = tests/images/test_image_files.py
NEWER = $(ODD)::test_palettes_colours_and_alpha_in_tiffs \
	$(ODD)::test_pillow_images_are_read_as_the_files_that_they_would_be

test-oldest: .venv-oldest/.done
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile $(OLDEST) $(NEWER:%=--deselect %)

.venv-oldest/.done: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt \
		--editable ".[test]"
	touch $@

test-slow: setup
	$(BIN)/python -m pytest -m slow --durations=10

# The files in which numbers decide, on two more processors: one without AVX, and one whose
# convolutions have no AVX.
NUMERIC = augment batches callbacks cams_study committee compare decoded device feature_memory \
	forecast gradients hybrid inference learner learning_loss losses memory mixing network \
	object_targets objects own_loss pixel_classifier plain_loss pretrain pseudo regions \
	representative run schedules segmenter semi several_classes sklearn_checks small_batches \
	soft_fits soft_targets source_set sparse_marks strategies threads uncertainty whole_networks
NUMERIC_FILES = $(wildcard $(NUMERIC:%=tests/*/test_%.py))

test-isa: setup
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -n 2 --dist loadfile $(NUMERIC_FILES)
	ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/python -m pytest -n 2 --dist loadfile $(NUMERIC_FILES)

# On a machine that LOAD other processes keep busy: time-outs may only guard against hangs.
# SELECT=kill runs the tests of that word alone.
LOAD ?= 8
SELECT ?=

test-load: setup
	@for i in $$(seq $(LOAD)); do (while :; do :; done) & busy="$$busy $$!"; done; \
	trap "kill $$busy" EXIT; trap "exit 1" INT TERM; \
	$(BIN)/python -m pytest -n 2 --dist loadfile $(if $(SELECT),-k "$(SELECT)")

# Whether any number differs from those of the commit BASE: small runs of both trees, beside each
# other on this machine. ONLY=fit runs those of that word alone.
BASE ?= 2a18b3fe874fbbdb7c67a2fdc1c3bdc286313219
ONLY ?=

net: setup
	$(BIN)/python tests/net.py --against $(BASE) $(if $(ONLY),--only "$(ONLY)")

# What a commit should pass before any test runs: two minutes.
check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) docs EXAMPLES=0

lint: dev
	$(BIN)/ruff check .

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: dev
	$(BIN)/mypy

# Warnings are errors. EXAMPLES=0 shows the examples' code without running them (`make test-slow`
# runs them too).
EXAMPLES ?= 1

docs: dev
	rm -rf docs/api/generated # a page of a name that is gone would be a warning
	$(BIN)/python -m sphinx -b html -q -W --keep-going -D plot_gallery=$(EXAMPLES) docs docs/_build

# Whether addresses outside answer: for people, since it needs the network. Links between pages are
# held by `make docs`.
links: dev
	$(BIN)/python -m sphinx -b linkcheck -q -D plot_gallery=0 docs docs/_build/links

# Which lines the tests reach, of the processes that they start too; fails below the share that
# pyproject.toml states. COVER=tests/metrics looks at a part, and then holds nothing.
COVER ?=

coverage: dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered \
		$(if $(COVER),--cov-fail-under=0 $(COVER))

# A wheel and an sdist in dist/.
dist: dev
	rm -rf build dist
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) .venv-oldest docs/_build docs/api/generated docs/auto_examples build dist runs

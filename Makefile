# `make demo` and `make test` work on a fresh machine with Python 3.11 to 3.13 and nothing else.
# A text after `##` on a target's line is its help.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
PIP_INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
OUT ?= runs/quickstart

.DEFAULT_GOAL := help
.PHONY: help demo test test-all soak lint docs bench aot format clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed ## Runs the quickstart: images from handwritten digits, with a report. Two minutes.
	.venv/bin/elicit quickstart --out $(OUT)

test: .venv/.installed-dev ## Runs the quick tests. Four minutes on two cores, six the first time.
	.venv/bin/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/.installed-dev ## Runs all tests, with annotations of shapes and types checked.
	ELICIT_CHECK_ANNOTATIONS=1 .venv/bin/python -m pytest -n 2 --dist worksteal

# Every crash point, 21 kills of each command instead of 3, every kind of damage, 50 times the fuzzing,
# all compiled as users compile.
soak: .venv/.installed-dev ## Runs the long form of the reliability tests. Up to three quarters of an hour.
	ELICIT_SOAK=1 JAX_DISABLE_MOST_OPTIMIZATIONS=0 .venv/bin/python -m pytest -n 2 --dist worksteal tests/faults \
	tests/experiments/test_damage.py tests/experiments/papers/engine/test_experiment.py \
	tests/experiments/papers/test_smoke.py

lint: .venv/.installed-dev ## Checks lint, format and types.
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright

docs: .venv/.installed ## Builds the documentation in docs/_build; any warning is an error. Two minutes.
	$(PIP_INSTALL) --editable '.[docs]'
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs . docs/_build/html
	@echo docs/_build/html/index.html

bench: .venv/.installed ## Times a few jobs, beside PyTorch if that is installed.
	.venv/bin/python benchmarks/bench.py

aot: .venv/.installed ## Compiles every program for TPUs and GPUs that are not there. Goes on where it was stopped; hours.
	$(PIP_INSTALL) --editable '.[aot,cuda13]'
	.venv/bin/python benchmarks/aot/compile.py
	.venv/bin/python benchmarks/aot/write_tables.py

format: .venv/.installed-dev ## Fixes lint and format where that can be done automatically.
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean: ## Removes .venv, caches, build files and runs/.
	rm -rf .venv build docs/_build *.egg-info runs .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/.installed-dev: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ .venv/.installed

# `make demo` and `make test` work on a fresh machine with Python 3.11 to 3.13 and nothing else.

PYTHON ?= python3
PIP_INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
OUT ?= runs/quickstart

.PHONY: demo test soak lint bench format clean

demo: .venv/.installed
	.venv/bin/elicit quickstart --out $(OUT)

test: .venv/.installed-dev
	.venv/bin/python -m pytest -n 2 --dist worksteal

# Every crash point, 21 kills of every command instead of 3, every damage, fifty times the fuzzing.
soak: .venv/.installed-dev
	ELICIT_SOAK=1 .venv/bin/python -m pytest -n 2 --dist worksteal tests/faults \
	tests/experiments/test_damage.py tests/experiments/papers/test_experiment.py \
	tests/experiments/papers/test_smoke.py

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright

bench: .venv/.installed
	.venv/bin/python benchmarks/bench.py

format: .venv/.installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv build *.egg-info runs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ .venv/.installed

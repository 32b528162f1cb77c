# Everything a clone needs. PYTHON=python3.11 picks the interpreter that .venv is made with (3.11 or later; the lock is
# made on 3.11).

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check notebooks rendered docs bench lock clean

help:  ## list the targets
	@awk -F ':.*##  *' '/^[a-z]+:.*##/ { printf "make %-9s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv from requirements.lock; nothing to do when it is current

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "mechxl needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

demo: setup  ## train the default run and write its report, reports/default.html
	$(BIN)/python -m mechxl.train
	$(BIN)/python -m mechxl.report runs/default

test: setup  ## run the tests, two at a time (PYTEST_ARGS="-k name" for some)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: setup  ## format, lint, types and import contracts; the first that fails, fails
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

notebooks: setup  ## run the notebooks of analyses/notebooks on a small run, two at a time; they stay without outputs
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --nbmake --nbmake-timeout=600 analyses/notebooks

rendered: setup  ## run the notebooks and write them as HTML, build/notebooks
	@# a page holds plotly.js itself; a notebook leaves that to what shows it
	PLOTLY_RENDERER=notebook $(BIN)/jupyter nbconvert --log-level=WARN --to html --execute --output-dir build/notebooks analyses/notebooks/*.ipynb

docs: setup  ## write the API reference from the docstrings, build/docs/mechxl.html
	$(BIN)/python docs/reference.py build/docs

bench: setup  ## measure speed against named peers, about 45 minutes (BENCH_ARGS="--only training" for a part)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lock: $(BIN)/pip-compile  ## write requirements.lock from pyproject.toml, keeping its pins (LOCK_FLAGS=--upgrade: newest)
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --extra test --extra dev --allow-unsafe \
		--no-emit-find-links --no-emit-index-url --no-emit-trusted-host --strip-extras --annotation-style line \
		$(LOCK_FLAGS) --output-file requirements.lock pyproject.toml
	@# torch's CPU and CUDA builds share one lock: neither the build's name nor CUDA's packages stand in it
	sed -E -e 's/\+cpu/    /' -e '/^(nvidia|cuda|triton)/d' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

$(BIN)/pip-compile:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet pip-tools

clean:  ## remove caches and build output (.venv, runs and reports stay)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# All tasks of this repository; `make help` lists them. `make setup PYTHON=python3.11` chooses the interpreter for .venv:
# 3.11 or later. The lock file is written with 3.11.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check notebooks rendered docs bench lock clean

help:  ## list these targets
	@awk -F ':.*##  *' '/^[a-z]+:.*##/ { printf "make %-9s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install the packages of requirements.lock in .venv, unless that is up to date

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "mechxl needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

demo: setup  ## train the default run (runs/default) with its null (runs/default-null) and write its report (reports/default.html)
	$(BIN)/python -m mechxl.train --with-null
	$(BIN)/python -m mechxl.report runs/default

test: setup  ## run the tests, two at a time (PYTEST_ARGS="-k name" for some)
	@# bytecode is written, whatever the shell says: many tests start processes of their own
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

check: setup  ## check format, lint, types, import contracts and quoted numbers; stop at the first failure
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	@# what pages say of studies is what results/ holds, made with the defaults of today
	$(BIN)/python -m analyses --check

notebooks: setup  ## run the notebooks in analyses/notebooks on a small run, in two processes; the files do not change
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --nbmake --nbmake-timeout=600 analyses/notebooks

rendered: setup  ## run the notebooks and write them as HTML to build/notebooks
	@# this renderer writes plotly.js into the page, so that its figures need no network
	PLOTLY_RENDERER=notebook $(BIN)/jupyter nbconvert --log-level=WARN --to html --execute --output-dir build/notebooks analyses/notebooks/*.ipynb

docs: setup  ## write the API reference from the docstrings to build/docs/mechxl.html
	$(BIN)/python docs/reference.py build/docs

bench: setup  ## measure speed and compare it with other implementations, about 45 minutes (BENCH_ARGS="--only training" runs one part)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lock: $(BIN)/pip-compile  ## write requirements.lock from pyproject.toml and keep its versions (LOCK_FLAGS=--upgrade: take the newest)
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --extra test --extra dev --allow-unsafe \
		--no-emit-find-links --no-emit-index-url --no-emit-trusted-host --strip-extras --annotation-style line \
		$(LOCK_FLAGS) --output-file requirements.lock pyproject.toml
	@# one lock file serves the CPU and the CUDA build of torch: remove the name of the build and the CUDA packages
	sed -E -e 's/\+cpu/    /' -e '/^(nvidia|cuda|triton)/d' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

$(BIN)/pip-compile:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet pip-tools

clean:  ## remove caches and build output; keep .venv, runs and reports
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

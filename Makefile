# make demo      solve Beach Bar and write a report
# make test      lint, types and the fast tests: what continuous integration runs
# make test-all  the same with the slow tests, then test-versions
# make test-versions  the fast tests with the lowest dependencies, and on every Python from 3.11 on that there is
# make fast      the fast tests alone
# make slow      the slow tests alone
# make docs      the examples in README.md and docs/, run as tests; then the documentation site, in site/
# make wheel     build the wheel and the sdist into dist/
# make wheel-test  the same, then install the wheel into a fresh environment and use it
# make lint      ruff and mypy alone
# make format    rewrite the sources as `make lint` wants them
# make clean     remove builds and caches (not the environment, not run folders)
#
# Each but `wheel` and `wheel-test` first creates the environment in .venv, or renews it if pyproject.toml or constraints.txt have changed.
# Another interpreter: make test PYTHON=python3.12. Another environment: make test VENV=/some/folder.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
EXTRAS ?= dev
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
INSTALLED_DOCS = $(VENV)/.installed-docs
PYTEST = $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-all test-versions fast slow docs wheel wheel-test lint format clean

demo: $(INSTALLED)
	$(BIN)/structmfg solve beach_bar --seed 0

# Side by side, as mypy needs one core.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs=2 lint fast

test-all: lint
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) -m ""
	.ci/versions

test-versions:
	.ci/versions

fast: $(INSTALLED)
	$(PYTEST)

slow: $(INSTALLED)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) -m slow

docs: $(INSTALLED_DOCS)
	$(PYTEST) README.md docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel:
	PYTHON=$(PYTHON) .ci/wheel build

wheel-test:
	PYTHON=$(PYTHON) .ci/wheel

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit("structmfg needs Python 3.11 or newer, but this is %d.%d: set PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV) (a minute or two, the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS)]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[docs]'
	@touch $@

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find structmfg tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Two commands: `make demo` sees it work, `make test` checks everything. Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-browser lint install bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/cepo train --config recipes/tiny/cepo.yaml

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-browser: install
	$(BIN)/python -m pytest -m browser tests/reports

bench: install
	$(BIN)/python benchmarks/scoring.py

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .ruff_cache .hypothesis

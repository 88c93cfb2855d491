# Two commands: `make demo` sees it work, `make test` checks everything. Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

TRL ?= 1.15.0

.PHONY: demo test pytest test-trl test-models test-gpu test-long test-browser test-deepspeed test-wheel lint install bench chaos mutants docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/cepo train --config recipes/tiny_text/decisive.yaml
	$(BIN)/cepo report runs/tiny-text-decisive

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports

# Lint and tests side by side: the type checker has one thread.
test: install
	$(MAKE) -j2 lint pytest

pytest: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The trainer's tests against another TRL, in an environment of its own: make test-trl TRL=1.15.0
test-trl:
	test -x .venv-trl/bin/python || $(PYTHON) -m venv .venv-trl
	sed 's/^trl==.*/trl==$(TRL)/' constraints.txt > .venv-trl/constraints.txt
	.venv-trl/bin/pip install --quiet --no-compile --disable-pip-version-check -c .venv-trl/constraints.txt -e '.[dev]'
	.venv-trl/bin/python -m pytest -n 2 --dist loadfile tests/trainer

# What trains on a GPU where there is one; PYTHON is an interpreter with cepo, pytest and its plugins: CUDA is no matter of constraints.txt.
# Left out: pairs of processes, which are to meet on the CPU.
PAIRS := unlike_processes sampling collectives sharded_teachers distributed two_distil deepspeed
test-gpu:
	CEPO_TEST_GPU=1 $(PYTHON) -m pytest -n 4 tests/trainer tests/runs tests/models $(PAIRS:%=--ignore=tests/trainer/test_%.py) \
		--ignore=tests/runs/test_many_processes.py --ignore=tests/runs/test_lifecycle.py

# Every architecture of the installed transformers, small, through the probe; writes docs/architectures.md.
test-models: install
	$(BIN)/python benchmarks/architectures.py

# More cases of what `make test` checks once. bitsandbytes lies apart: PEFT imports it wherever it is installed, for 2 s each time.
test-long: install build/qlora
	PYTHONPATH=$(CURDIR)/build/qlora $(BIN)/python -m pytest -m long

build/qlora: constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt --upgrade --target $@ bitsandbytes
	touch $@

test-browser: install
	$(BIN)/python -m pytest -m browser tests/reports tests/package/test_docs.py

# ZeRO-2 and ZeRO-3 on two processes; installs DeepSpeed into .venv.
test-deepspeed: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deepspeed]'
	$(BIN)/python -m pytest tests/trainer/test_deepspeed.py tests/trainer/test_sharded_teachers.py tests/runs/test_many_processes.py -k zero

# Builds the wheel, installs it into an empty environment, and trains from another folder.
test-wheel:
	PYTHON=$(PYTHON) tests/package/wheel.sh

bench: install
	$(BIN)/python benchmarks/scoring.py

# Runs that are killed, starved, damaged and started twice (docs/reliability.md); not a part of `make test`.
chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos

# What the tests of credit and scoring do not notice (docs/mutants.md); not a part of `make test`. Installs mutmut into
# .venv. MUTANTS: its options, as in `make mutants MUTANTS='--sample 50 src/cepo/credit/sources.py'`.
mutants: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants $(MUTANTS)

docs: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/make_configuration.py
	$(BIN)/python docs/make_rules.py
	$(BIN)/python docs/make_trl_options.py
	$(BIN)/python docs/make_costs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@! grep -rnoE '<(script|link|img)[^>]+(src|href)="?(https?:)?//[^"> ]+' site --include='*.html' || (echo "the site must open without a network" && false)
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) .venv-trl runs build dist mutants .pytest_cache .ruff_cache .hypothesis

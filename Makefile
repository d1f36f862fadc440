# Every target sets up what it needs in a local virtual environment, and does nothing twice.

VENV := .venv
BIN := $(VENV)/bin
# the rules call polycal by name
export PATH := $(CURDIR)/$(BIN):$(PATH)
READY := $(VENV)/.ready
PYTHON ?= python3

.PHONY: test check lock clean

$(READY): envs/cpu.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/cpu.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Format, lint, types and dry runs; CI runs this before the tests.
check: $(READY)
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/own-model.yaml
	$(BIN)/snakemake --dry-run --quiet all --profile profiles/local \
		--configfile config/own-model.yaml

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest

# Pins the versions that the environment holds now; a local build suffix is no released version.
lock:
	{ sed -n 1p envs/cpu.lock; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > envs/cpu.lock.part
	mv envs/cpu.lock.part envs/cpu.lock

clean:
	rm -rf $(VENV)

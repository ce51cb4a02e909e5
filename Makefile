# The two commands of the README. Both set up .venv first, from the lock.
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

# roc-validator pins packages that Snakemake has newer, so it lives in an environment of its own
VALIDATOR := .venv-roc/.ready
# the archived record that `make reproduce` checks, and what is asked of it
REFERENCE := $(lastword $(sort $(wildcard results/reference/*.zip)))
LEVEL ?= L1 L4

.PHONY: study test reproduce lint lock schema clean-venv

study: $(READY)
	@$(BIN)/snakemake --profile workflow/profiles/local; status=$$?; \
	$(BIN)/python -m kdlm claims results/digits; exit $$status

test: $(READY) $(VALIDATOR) lint
	$(BIN)/pytest -n 2 --dist loadfile --durations 10

reproduce: $(READY)
	rm -rf build/reproduce
	$(BIN)/python -m kdlm reproduce "$(REFERENCE)" --level $(LEVEL) --yes \
	  --folder build/reproduce --json build/reproduce.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow

# The lock holds every package at one version, for all platforms; pip reads it as constraints, so
# that a CPU build of torch, where one is offered, brings none of the CUDA packages along.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("kdlm needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	touch $@

$(VALIDATOR): tests/archive/validator.lock tests/archive/seed_contexts.py
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(@D)/bin/python tests/archive/seed_contexts.py $(@D)/contexts
	touch $@

lock:
	$(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	  --no-emit-index-url --no-annotate --no-header --output-file requirements.lock pyproject.toml

schema: $(READY)
	$(BIN)/python -m kdlm schema workflow/schemas/config.schema.yaml

clean-venv:
	rm -rf $(VENV) .venv-roc

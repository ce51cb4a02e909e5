# The two commands of the README, and others. All set up .venv first, from the lock: `make study`
# with what the study needs, others with tests and tools too. Programs are
# started through Python: a script's first line cannot name an interpreter whose path has spaces.

# The folder's name may have letters that the locale does not know. setuptools writes the path of an
# editable installation in the locale's encoding, even where Python's UTF-8 mode is on; `install`
# makes it a relative one, which is ASCII and so is read in every locale.
export PYTHONUTF8 := 1
ifneq ($(shell locale charmap 2>/dev/null),UTF-8)
export LC_ALL := C.UTF-8
endif

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
STUDY_READY := $(VENV)/.study
BIN := $(VENV)/bin

# roc-validator pins packages that Snakemake has newer, so it lives in an environment of its own
VALIDATOR := .venv-roc/.ready
# the executor plugin is a distribution of its own, on no index: it is installed by this path
PLUGIN := packages/snakemake-executor-plugin-submitit
PLUGIN_READY := .venv-plugin/.ready
# .venv with Sphinx and its theme, which the site is built with
DOCS_READY := $(VENV)/.docs
COMMA := ,
# the archived record that `make reproduce` checks, and what is asked of it
REFERENCE := $(lastword $(sort $(wildcard results/reference/*.zip)))
LEVEL ?= L1 L4

.PHONY: install study docs container test reproduce slow faults mutants lint plugin-test plugin-build slurm-test slurm24-test slurm-demo slurm-benchmark slurm24-benchmark lock metadata schema clean-venv

# What `make study` needs, to run its commands by hand; docs/tutorial.md starts here.
install: $(STUDY_READY)

study: $(STUDY_READY)
	@export XDG_CACHE_HOME="$${XDG_CACHE_HOME:-$$PWD/.snakemake/cache}"; \
	$(BIN)/python -m snakemake --profile workflow/profiles/local; status=$$?; \
	$(BIN)/python -m kdlm claims results/digits; \
	if [ -f results/digits/report.html ]; then echo results/digits/report.html; fi; exit $$status

# Environments are made side by side, and so are the checks that keep one core busy, or none. Then one
# worker more than the two cores of a small machine, since many tests wait.
test:
	$(MAKE) --no-print-directory --jobs 3 $(READY) $(VALIDATOR) $(PLUGIN_READY)
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint plugin-test
	tests/report/install.sh || [ $$? -eq 3 ]
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --durations 10

slow: $(READY) $(PLUGIN_READY)
	.venv-plugin/bin/python -m pytest $(PLUGIN) -m slow -n 2 --dist loadfile
	$(BIN)/python -m pytest tests -m slow -n 2 --dist loadfile --durations 10

# Every fault test, the slow ones too; a cluster's where a Slurm can be started.
faults: $(READY)
	$(BIN)/python -m pytest tests -m fault -n 2 --dist loadfile --fault-report docs/faults.md
	$(BIN)/python -m pytest $(PLUGIN) -p tests.fault_report -m fault -n 2 --dist loadfile --fault-report=docs/faults.md
	tests/slurm/install.sh && $(BIN)/python -m pytest tests/slurm -m fault --fault-report docs/faults.md
	tests/slurm24/install.sh && KDLM_TEST_SLURM=24.11 $(BIN)/python -m pytest tests/slurm/test_hosts.py tests/slurm/test_newer.py -m fault --fault-report docs/faults.md

# Whether the tests would notice: small faults, put into a copy of the checkout one at a time.
# By hand and on a schedule: an hour of two cores. AREAS="losses claims" tries some areas only.
mutants: $(READY)
	$(BIN)/python -m tests.mutants $(AREAS) --workers 2

reproduce: $(STUDY_READY)
	rm -rf build/reproduce
	$(BIN)/python -m kdlm reproduce "$(REFERENCE)" --level $(LEVEL) --yes \
	  --folder build/reproduce --json build/reproduce.json

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m snakefmt --check Snakefile workflow
	$(BIN)/python -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

# The site: build/site/index.html. A warning of Sphinx is an error, and so is a link that leads nowhere.
docs: $(DOCS_READY)
	rm -rf build/site
	$(BIN)/python -m sphinx -c docs -d build/doctrees -b html --fail-on-warning --keep-going --quiet . build/site
	$(BIN)/python -m tests.docs.links build/site

# The default study with its environment, as an image; ENGINE=podman works too.
ENGINE ?= docker
container:
	$(ENGINE) build --tag kdlm .

# The plugin's tests, in an environment that has the plugin and neither kdlm nor torch.
plugin-test: $(PLUGIN_READY)
	.venv-plugin/bin/python -m pytest $(PLUGIN) -m "not slow" -n 3 --dist loadfile --durations 10

# The plugin's wheel and source distribution, and whether an index would take them.
plugin-build:
	rm -rf $(PLUGIN)/dist build/plugin && $(PYTHON) -m venv build/plugin
	build/plugin/bin/python -m pip install --quiet --disable-pip-version-check build twine
	build/plugin/bin/python -m build $(PLUGIN)
	build/plugin/bin/python -m twine check --strict $(PLUGIN)/dist/*

# A whole Slurm on this machine, for as long as the command takes; root on Debian.
SLURM := tests/slurm/install.sh && $(BIN)/python -m tests.slurm run --

slurm-test: $(READY)
	tests/slurm/install.sh
	$(BIN)/python -m pytest tests/slurm --durations 10

# The same tests on a newer Slurm of several hosts, with an ordinary user and accounts; and others.
slurm24-test: $(READY)
	tests/slurm24/install.sh
	KDLM_TEST_SLURM=24.11 $(BIN)/python -m pytest tests/slurm -n 2 --dist loadfile --durations 10

slurm-demo: $(READY)
	$(SLURM) $(BIN)/python -m snakemake --profile slurm
	@$(BIN)/python -m kdlm claims results/digits

slurm-benchmark: $(READY)
	$(SLURM) $(BIN)/python -m benchmarks cluster

# The same comparison on the newer Slurm, by its ordinary user, who cannot write into this folder.
slurm24-benchmark: $(READY)
	tests/slurm24/install.sh
	$(BIN)/python -m tests.slurm24 run -- sh -c 'PYTHONPATH=$(CURDIR):$$PYTHONPATH exec \
	  /usr/lib/kdlm/bin/python -m benchmarks cluster --other /usr/lib/other/bin/python'

# The lock holds every package at one version, for all platforms; pip reads it as constraints, so
# that a CPU build of torch, where one is offered, brings none of the CUDA packages along.
SOURCES := pyproject.toml $(PLUGIN)/pyproject.toml requirements.lock
define install
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("kdlm needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock \
	  --editable '.[$(1)]' --editable $(PLUGIN)
	$(BIN)/python -c 'import os, pathlib, sysconfig; files = pathlib.Path(sysconfig.get_path("purelib")).glob("__editable__*.pth"); [file.write_text(os.path.relpath(file.read_text().strip(), file.parent) + chr(10)) for file in files]'
endef

$(STUDY_READY): $(SOURCES)
	$(call install,study$(COMMA)analysis)
	touch $@

$(READY): $(SOURCES)
	$(call install,study$(COMMA)analysis$(COMMA)dev)
	touch $(STUDY_READY) $@

$(PLUGIN_READY): $(PLUGIN)/pyproject.toml requirements.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '$(PLUGIN)[test]'
	touch $@

$(DOCS_READY): $(READY)
	$(call install,study$(COMMA)analysis$(COMMA)dev$(COMMA)docs)
	touch $@

$(VALIDATOR): tests/archive/validator.lock tests/archive/seed_contexts.py
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(@D)/bin/python tests/archive/seed_contexts.py $(@D)/contexts
	touch $@

COMPILE := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
  --no-emit-index-url --no-annotate --no-header pyproject.toml $(PLUGIN)/pyproject.toml

# With hashes pip would refuse a local build of torch, so those are in a second file, for who wants
# PyPI's own files and no others: pip install --require-hashes --requirement requirements.hashed.lock
lock:
	$(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --generate-hashes --output-file requirements.hashed.lock

# Files for deposits, from CITATION.cff and pyproject.toml.
metadata: $(STUDY_READY)
	$(BIN)/python docs/metadata.py

schema: $(STUDY_READY)
	$(BIN)/python -m kdlm schema workflow/schemas/config.schema.yaml

clean-venv:
	rm -rf $(VENV) .venv-roc .venv-plugin

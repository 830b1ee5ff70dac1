# The entry points that people, CI and the README use. `make help` lists them.
# Each sets up what it needs; a machine with Python 3.11 or newer, git and make is enough.

PYTHON ?= python3
WORKERS ?= logical
BIN := .venv/bin
READY := .venv/.ready

# What is set for another Python stays outside. (Container images set PYTHONDONTWRITEBYTECODE, with
# which every one of many processes would compile what it imports again.)
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES)))
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv

.DEFAULT_GOAL := help
.PHONY: help setup repro test check faults demo ui watch readme bench lock clean

help: ## list these entry points
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(READY) ## the environment alone, in .venv

repro: $(READY) ## the whole pipeline: download, train, evaluate, compare, report, track
	@foldwise doctor --fix --dvc
	dvc repro split
	foldwise train
	dvc repro
	@foldwise results

test: $(READY) ## every test, end to end included; WORKERS=1 for one process
	pytest --numprocesses $(WORKERS) --dist loadfile

check: $(READY) ## style, types and the project's own rules; quick
	ruff format --check .
	ruff check .
	mypy
	pytest -q -m contract
	python .ci/audit.py

faults: $(READY) ## every fault by its real cause, kills at random; writes docs/reliability.md; an hour
	python tests/faults

demo: $(READY) ## the whole pipeline on built-in synthetic data, in .demo; no network
	foldwise demo

ui: $(READY) ## browse the runs in the MLflow UI
	foldwise ui

watch: $(READY) ## the same, with live training curves: beside `make repro`
	foldwise ui --follow

readme: $(READY) ## write the results into README.md and draw its picture; for maintainers
	python -m benchmarks.readme

bench: $(READY) ## time foldwise against the notebook's loops and other tools; 35 minutes on 2 cores
	$(PYTHON) -I tools/environment.py benchmarks/requirements.lock
	python -m benchmarks
	python -m benchmarks.pipeline
	python -m benchmarks --write-docs

lock: $(READY) ## resolve pyproject.toml into the two lock files again
	uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
		--extra dev --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
		--extra bench --constraint requirements.lock --custom-compile-command "make lock" \
		--output-file benchmarks/requirements.lock pyproject.toml

clean: ## remove the environment (results stay)
	rm -rf .venv

# An environment that was copied with its folder still belongs to the original.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(READY): requirements.lock pyproject.toml tools/environment.py
	@$(PYTHON) -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -I tools/environment.py

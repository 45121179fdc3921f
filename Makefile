# Each target sets up what it needs. `make run` and `make test` are the two that matter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

COURSE_RUN := $(or $(COURSE_RUN),sample)
export COURSE_RUN
export JUPYTER_PREFER_ENV_PATH := 1
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: help setup run test unit lessons bench lab lint data clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## virtual environment, packages and kernel
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.10 to 3.13: choose one, as in make run PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Transfer learning course"
	@touch $@

run: $(READY) ## run every lesson, or one: make run LESSON=02
	$(BIN)/python tools/run_lessons.py $(LESSON)

test: unit lessons ## unit tests, then every lesson against its stored outputs

unit: $(READY) ## unit tests only
	$(BIN)/python -m pytest

lessons: $(READY) ## every lesson against its stored outputs
	COURSE_RUN=sample COURSE_BACKBONE= COURSE_DATA= COURSE_LIMIT= $(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=600 notebooks

bench: $(READY) ## our way against the usual one; COURSE_DATA=DIR for real images
	$(BIN)/python benchmarks/run.py $(NAME)

lab: $(READY) ## JupyterLab on lesson 01
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks/01_theory.ipynb

lint: $(READY) ## ruff, code and notebooks
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

data: $(READY) ## download a real data set: make data NAME=food10
	$(BIN)/python -m helpers.downloads $(NAME)

clean: ## remove what can be made again, but not the environment and the downloads
	rm -rf build

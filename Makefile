# make quickstart   the main job on the embedded corpus, from nothing
# make test         format, lint, types and tests, from nothing
# make format       puts the code into shape
# make clean        takes away the environment and what was built; runs stay
# make help         what there is

PYTHON ?= python3
VENV ?= .venv
PIP_OPTIONS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt

.PHONY: help quickstart test format clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

quickstart: $(VENV)/installed
	$(BIN)/limbeck quickstart

# Tests run in two processes; more threads than cores would slow each other several times over.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	@echo "Making the environment in $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Limbeck needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Limbeck and what it needs (a few minutes, once)"
	$(PIP) -e '.[quickstart]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Limbeck, what it needs and the checks (a few minutes, once)"
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/installed

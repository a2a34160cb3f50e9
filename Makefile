# A new user's two commands are `make demo` and `make test`; both install first if need be.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# MMagic's pins are its own affair, so it has an environment of its own.
MMAGIC ?= .venv-mmagic
# Options for pytest, such as ARGS='-k metrics'.
ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

.DEFAULT_GOAL := help
.PHONY: help install demo test lint docs mmagic test-mmagic clean distclean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

install: $(VENV)/.installed  ## make a virtual environment in .venv with everything in it

demo: install  ## render a rainy drive, restore it, and say what was gained
	@$(BIN)/python tools/demo.py

test: install  ## run the whole test suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: install  ## check the style
	@$(BIN)/ruff check .

docs: $(VENV)/.docs  ## build the book into docs/_build/html
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'The book is in docs/_build/html/index.html.'

mmagic: $(MMAGIC)/.mmagic  ## make a second environment in .venv-mmagic, with MMagic in it

test-mmagic: mmagic  ## run the tests that need MMagic
	@OMP_NUM_THREADS=1 $(MMAGIC)/bin/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile tests/with_mmagic $(ARGS)

clean:  ## remove what builds, tests and the demo left
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache demo_output docs/_build
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## remove the virtual environments too
	rm -rf $(VENV) $(MMAGIC)

# In two steps, each repeated only when what it reads has changed: the dependencies, and the package with the copies of
# scripts and configs that mim reads.
$(VENV)/.requirements: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"mmweather needs Python 3.10 or newer, and $(PYTHON) is older; name another: make PYTHON=python3.11")'
	@echo 'Installing into $(VENV); torch is the largest part of it.'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -r requirements.txt
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
		echo 'opencv-python cannot start without the libraries of a display: installing opencv-python-headless.'; \
		$(PIP) uninstall -y opencv-python opencv-python-headless && \
		$(PIP) install --no-deps $$(sed -nE 's/^opencv-python(==.*)/opencv-python-headless\1/p' requirements.txt) && \
		$(BIN)/python -c 'import cv2'; }
	@touch $@

$(VENV)/.installed: $(VENV)/.requirements setup.py model-index.yml mmweather/version.py \
		$(shell find configs tools -type f -not -name '*.pyc')
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.docs: $(VENV)/.installed requirements/docs.txt
	@$(PIP) install -r requirements/docs.txt
	@touch $@

# The same in another place, then MMagic without what its requirements would bring along. MMagic's scripts import what is
# broken before they read a config, hence the repairs at startup.
$(MMAGIC)/.mmagic: requirements.txt requirements/mmagic.txt tools/repair_at_startup.py
	@$(MAKE) --no-print-directory install VENV=$(MMAGIC)
	@$(MMAGIC)/bin/python -m pip --disable-pip-version-check --no-input -qq install --no-deps -r requirements/mmagic.txt
	@$(MMAGIC)/bin/python tools/repair_at_startup.py > /dev/null
	@touch $@

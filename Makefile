# Set-up is automatic: every target that needs the environment makes it first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
# Two processes per machine at least, four at most: a test may start a Ray cluster of its own.
PARALLEL ?= -n auto --maxprocesses 4 --dist loadgroup

# Models and weights are local here; nothing asks a hub behind the user's back.
export YOLO_OFFLINE ?= 1
export YOLO_AUTOINSTALL ?= 0
export YOLO_CONFIG_DIR ?= $(CURDIR)/.cache/ultralytics
export HF_HUB_OFFLINE ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: help setup demo test test-slow lint types format lock clean

help:
	@echo "make demo       build a small corpus from the street video that ships here, and pre-train on it"
	@echo "make test       lint, types, tests"
	@echo "make test-slow  the tests that take longer"
	@echo "make lock       pin every dependency anew"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "reidforge needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV cannot start; on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"; exit 2; }
	@touch $@

demo: setup
	@$(BIN)/reidforge demo $(ARGS)

test: setup lint types
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra dev --extra notebook pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .cache corpora build dist

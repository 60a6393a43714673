# Every target that needs the environment creates it first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
# At most four processes, as some tests start Ray clusters of their own; the tests of a file share its fixtures.
PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile

# Models are local files; no library may contact a hub unasked.
export YOLO_OFFLINE ?= 1
export YOLO_AUTOINSTALL ?= 0
export YOLO_CONFIG_DIR ?= $(CURDIR)/.cache/ultralytics
export HF_HUB_OFFLINE ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: help setup demo test test-slow lint types format lock clean

help:
	@echo "make demo       build a small corpus from the included street video, and pre-train on it"
	@echo "make test       run lint, types and the quick tests"
	@echo "make test-slow  run the tests that take longer than ten seconds"
	@echo "make format     format the code and fix what lint can fix"
	@echo "make lock       pin the dependencies in requirements.lock"
	@echo "make clean      remove .venv, caches, builds and corpora/"
	@echo "The first call sets up .venv. ARGS=... passes options to demo, test and test-slow."

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "reidforge needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@echo "Setting up $(VENV): about 7 GB, a few minutes ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV cannot start; on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"; exit 2; }
	@touch $@
	@echo "Set up $(VENV); the command is $(BIN)/reidforge"

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

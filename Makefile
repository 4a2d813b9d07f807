# `make demo` and `make test` do all the set-up that they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 20

.PHONY: demo test torture lab bench lint types lock clean

demo: $(VENV)/ready
	@$(BIN)/edged demo --seconds $(SECONDS)

test: $(VENV)/ready
	@sh tests/tools.sh
	@$(BIN)/python -m pytest -q $(ARGS)

# Kills the store at random moments; a second or less a round.
torture: ROUNDS ?= 500
torture: $(VENV)/ready
	@$(BIN)/python -m pytest -q -s tests/kill --rounds $(ROUNDS) $(ARGS)

# Power cuts and a dying disk, in a Debian guest under QEMU; the first time it needs root and a Debian mirror.
lab: ROUNDS ?= 100
lab: $(VENV)/ready
	@$(BIN)/python -m pytest -q -s tests/lab -m lab --rounds $(ROUNDS) $(ARGS)

# Half an hour on an idle machine; ARGS=--quick: one short round of each.
bench: $(VENV)/ready
	@$(BIN)/python -m tests.bench $(ARGS)

lint: $(VENV)/ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/ready
	@$(BIN)/mypy

# The environment, with the very versions of the lock file.
$(VENV)/ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edged needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing; install it with: sudo apt install python3-venv"; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Takes the newest versions that pyproject.toml allows; needs uv.
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-emit-index-url --quiet --output-file requirements-dev.txt --upgrade

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

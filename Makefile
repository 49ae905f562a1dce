# The two commands of a newcomer: `make quickstart` and `make test`. All else is for developers.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help quickstart test browser lowest newest lint format bench clean

help:  ## what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

quickstart: .venv/.installed  ## install, and run the main job on MovieLens-100K
	$(BIN)/recsmith quickstart

test: .venv/.installed-dev browser  ## every test, on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal

browser: .venv/.installed-dev  ## a Chromium for the tests of the page, where there is none
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || ls $(HOME)/.cache/ms-playwright/chromium-* >/dev/null 2>&1 || \
	  { echo "No Chromium here; installing one for the tests of the page"; \
	    { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } || $(BIN)/playwright install chromium || \
	    echo "That failed: the tests of the page will be skipped, and say so."; }

lowest: .venv/.created  ## every test with the oldest dependencies that pyproject.toml allows
	$(BIN)/python -m pip --disable-pip-version-check install --quiet uv
	$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python .venv/lowest
	$(BIN)/uv pip install --quiet --python .venv/lowest --resolution lowest-direct --editable '.[dev]'
	.venv/lowest/bin/python -m pytest -n auto --dist worksteal

newest: .venv/.created  ## every test with the newest dependencies there are
	$(BIN)/python -m venv --clear .venv/newest
	.venv/newest/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[dev]'
	.venv/newest/bin/python -m pytest -n auto --dist worksteal

lint: .venv/.installed-dev  ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-dev  ## write what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-dev  ## time, memory and accuracy beside the peers; ARGS=--quick for some minutes
	$(BIN)/python benchmarks/bench.py $(ARGS)

clean:  ## remove environments and caches, not your runs and bundles
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "recsmith needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) comes without venv here; installing Debian's package for it"; \
	    $$([ "$$(id -u)" = 0 ] || echo sudo) sh -c 'apt-get update -qq && apt-get install -qq -y python3-venv' || \
	    { echo "That failed: install the package with venv for $(PYTHON) by hand, and run make again."; exit 2; }; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.created pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

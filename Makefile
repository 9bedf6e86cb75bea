# valmon: every command a newcomer needs. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# More than the two cores of CI: tests of `valmon up` wait for most of their time. 1.5 GB each.
TEST_WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install run test lint types format bench lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is rebuilt when the lock changes; editable, so code changes need no reinstall.
$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "valmon needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@echo "Installing the pinned dependencies into $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)

install: $(INSTALLED) ## make the environment with the pinned dependencies

run: $(INSTALLED) ## start everything; on the recorded devnet unless VALMON_BEACON_URL is set
	@$(BIN)/valmon up

test: $(INSTALLED) ## run the whole test suite
	@$(BIN)/python -m compileall -q valmon_pipeline valmon_pipeline_tests
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED) ## ruff (rules and format) and the import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(INSTALLED) ## mypy --strict
	@$(BIN)/mypy

format: $(INSTALLED) ## format the code and apply safe lint fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(INSTALLED) ## run the benchmarks (minutes); see bench/README.md
	@$(BIN)/python -m bench

lock: ## pin the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements.lock --group dev pyproject.toml -o requirements-dev.lock

clean: ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

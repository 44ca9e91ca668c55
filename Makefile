# What a person does with this checkout; `make` alone lists it.
#
# Only Python >= 3.11 is needed. The environment in $(VENV) is made from the hash-locked requirements, and the package
# runs from src/ by PYTHONPATH: nothing is built, and nothing is installed that is not in a lock.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV ?= .venv
PYTHON_OF_VENV := $(VENV)/bin/python
# Processes that run tests; the tests themselves keep two cores busy.
JOBS ?= 2
UV ?= uv

export PYTHONPATH := $(CURDIR)/src
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

INSTALL := $(PYTHON_OF_VENV) -m pip install -qq --no-deps --require-hashes --only-binary=:all: -r
LOCK := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --extra redis

# $(VENV)/bin/rickhouse is the command, from anywhere.
LAUNCHER := printf '\#!/bin/sh\nPYTHONPATH="%s" exec "%s" -m rickhouse "$$@"\n' \
	'$(CURDIR)/src' '$(abspath $(PYTHON_OF_VENV))' > $(VENV)/bin/rickhouse && chmod 755 $(VENV)/bin/rickhouse

.PHONY: help
help: ## List what can be done
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: $(VENV)/.run ## Start everything on 127.0.0.1:8000, buy one bottle, keep serving (ONCE=1: stop after the purchase)
	@$(PYTHON_OF_VENV) -m rickhouse run $(if $(filter-out 0 no false,$(ONCE)),--once)

.PHONY: reset
reset: $(VENV)/.run ## Stop the embedded PostgreSQL and delete its data and keys
	@$(PYTHON_OF_VENV) -m rickhouse reset

.PHONY: test
test: $(VENV)/.dev ## Run the tests, and hold coverage to its floor (TESTS=tests/orders for some of them)
	@$(PYTHON_OF_VENV) -m coverage erase
	@$(PYTHON_OF_VENV) -m coverage run -m pytest -n $(JOBS) --dist loadfile -m "not soak" $(TESTS)
	@$(PYTHON_OF_VENV) -m coverage combine --quiet
	@$(if $(TESTS),,$(PYTHON_OF_VENV) -m coverage report)

.PHONY: soak
soak: $(VENV)/.dev ## Hunt for an hour and more: long crash, race and property tests
	@$(PYTHON_OF_VENV) -m pytest -m soak --timeout 7200 $(TESTS)

.PHONY: check lint types imports rules migrations
check: lint types imports rules migrations ## Lint, formatting, types, import rules, house rules, migrations

lint: $(VENV)/.dev
	@$(PYTHON_OF_VENV) -m ruff check .
	@$(PYTHON_OF_VENV) -m ruff format --check .

types: $(VENV)/.dev
	@$(PYTHON_OF_VENV) -m basedpyright --warnings

imports: $(VENV)/.dev
	@$(VENV)/bin/lint-imports

rules: $(VENV)/.dev
	@$(PYTHON_OF_VENV) -m pytest -q tests/tidy

migrations: $(VENV)/.dev
	@find src -path '*/migrations/*.sql' -exec $(VENV)/bin/squawk {} +

.PHONY: bench
bench: $(VENV)/.dev ## Measure checkouts, a drop and the catalogue beside their limits
	@$(PYTHON_OF_VENV) -m bench

.PHONY: lock
lock: ## Bring the locks in line with pyproject.toml (needs uv; UPGRADE=1: newest versions)
	@command -v $(UV) >/dev/null || { echo 'make lock needs uv: see https://docs.astral.sh/uv/' >&2; exit 1; }
	@$(LOCK) $(if $(UPGRADE),--upgrade) -o requirements/run.lock
	@$(LOCK) $(if $(UPGRADE),--upgrade) --group dev -c requirements/run.lock -o requirements/dev.lock

.PHONY: clean
clean: ## Delete the environment and every cache; the data stays
	@rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: requirements/run.lock $(PYTHON_OF_VENV)
	@echo 'installing the locked requirements into $(VENV) (once; about a minute)'
	@$(INSTALL) $<
	@$(LAUNCHER)
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(PYTHON_OF_VENV)
	@echo 'installing the locked requirements for development into $(VENV) (once; a minute or two)'
	@$(INSTALL) $<
	@$(LAUNCHER)
	@touch $@ $(VENV)/.run

# `pip` and `venv` come with Python, except that Debian packs them apart.
$(PYTHON_OF_VENV):
	@old=; for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		old=$$python; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
		echo "making the environment $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV) && exit 0 || exit 1; \
	done; \
	if [ -n "$$old" ]; then \
		echo "$$old cannot make environments: install its venv package (Debian, Ubuntu: apt install python3-venv)." >&2; \
	else \
		echo 'Rickhouse needs Python 3.11 or newer, and none is on the PATH: install one, or name it: make PYTHON=/path/to/python3' >&2; \
	fi; exit 1

# git, make and Python 3.11+ are enough: everything else comes from uv.lock into .venv.
# make up ARGS="--data DIR", make test ARGS="-k greylist", make PYTHON=/path/to/python3.12 …
.DEFAULT_GOAL := help
.PHONY: help setup up test check format bench clean
MAKEFLAGS += --no-print-directory

ARGS ?=
ifdef PYTHON
export PYTHON
endif

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## install what uv.lock names into .venv; nothing to do, and no network, when it is current
	@.ci/setup

up: setup ## the whole pipeline on this machine, fed with a sample: who is refused, and why
	@exec .venv/bin/goaway up --sample $(ARGS)

test: setup ## every test; ends with a list of what was skipped and how to get it
	@.venv/bin/python -m pytest $(ARGS)

check: setup ## format, lint, types, import contract, lock file, compose file
	@.ci/check

format: setup ## bring the code into the house format
	@.venv/bin/python -m ruff check --fix --quiet . || true
	@.venv/bin/python -m ruff format .

bench: setup ## each figure of benchmarks/, one after the other
	@set -e; for figure in benchmarks/*.py; do \
	    case $$figure in */_*|*'*'*) continue;; esac; \
	    printf '\n== %s\n' "$$figure"; .venv/bin/python "$$figure" $(ARGS); \
	done

clean: ## remove what these commands have made, the data folder excepted
	@rm -rf .venv .tools dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage

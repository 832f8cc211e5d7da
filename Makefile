# Every target sets up what it needs; nothing is installed by hand.

# The first Python that is new enough and can make virtual environments; `make PYTHON=...` chooses another.
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	if $$python -c '$(USABLE)' 2>/dev/null; then echo $$python; break; fi; done)

# Half of the time the tests wait for disks and processes.
JOBS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))
VENV := .venv
BIN := $(VENV)/bin
DEMO := .venvs/demo
DOCS := .venvs/docs
VERSIONS := 3.11 3.12 3.13
TYPED = $(foreach folder,asyncpq tests bench docs,$(if $(wildcard $(folder)/*.py),$(folder)))
PIP := -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || date -r CHANGELOG.md +%s)

.PHONY: help venv demo docs docs-links lint types pyright dist test soak counts bench bench-compare compare performance test-all clean $(VERSIONS:%=test-%)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

define make_venv
	@test -n "$(1)" || { echo "No Python 3.11 or newer with the venv module was found." \
		"Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "$(2): $(1), $(3)"
	@"$(1)" -m venv $(2)
	@$(2)/bin/python $(PIP) --editable '$(3)'
	@touch $(2)/.stamp
endef

$(VENV)/.stamp: pyproject.toml
	$(call make_venv,$(PYTHON),$(VENV),.[dev$(comma)sqlite$(comma)cbor2$(comma)nats$(comma)cli$(comma)bench])

$(DEMO)/.stamp: pyproject.toml
	$(call make_venv,$(PYTHON),$(DEMO),.)

$(DOCS)/.stamp: pyproject.toml
	$(call make_venv,$(PYTHON),$(DOCS),.[docs$(comma)sqlite$(comma)cbor2$(comma)nats])

comma := ,

venv: $(VENV)/.stamp ## make .venv with everything that development needs

demo: $(DEMO)/.stamp ## take over a directory that persist-queue wrote, and show what happens
	@$(DEMO)/bin/python docs/examples/take_over.py

docs: $(DOCS)/.stamp ## build docs/_build/html: every warning, and every link that leads nowhere, is an error
	@rm -rf docs/_build/html
	@$(DOCS)/bin/sphinx-build -q -W --keep-going -n docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-links: $(DOCS)/.stamp ## ask for each page outside that the documentation leads to; needs the network
	@$(DOCS)/bin/sphinx-build -q -b linkcheck docs docs/_build/linkcheck

lint: $(VENV)/.stamp ## ruff: rules and formatting; codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

pyright: $(VENV)/.stamp ## pyright on the public API (it fetches a node package, so `make test` leaves it out)
	$(BIN)/pyright --pythonpath $(BIN)/python

types: $(VENV)/.stamp ## mypy --strict
	$(BIN)/mypy --strict $(TYPED)

test: lint types ## what CI runs: lint, types and pytest
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

soak: $(VENV)/.stamp docs ## the tests that run for minutes
	$(BIN)/pytest -m soak --timeout=0 $(ARGS)
	$(BIN)/python -m tests.counts

counts: $(VENV)/.stamp ## put the counts of the last soak run into docs/promises.md
	$(BIN)/python -m tests.counts

bench: $(VENV)/.stamp ## the suites of benchmarks: printed, and saved under .benchmarks
	$(BIN)/pytest bench/suites -q -p no:xdist --timeout=0 --benchmark-autosave --benchmark-storage=.benchmarks \
		--benchmark-columns=median,iqr,min,rounds $(ARGS)

bench-compare: $(VENV)/.stamp ## the suites against the run saved last, or another revision: REV=main~5
	$(BIN)/python -m bench.revisions $(if $(REV),--rev $(REV)) $(ARGS)

compare: $(VENV)/.stamp ## the goals as ratios, measured in turn; fails when one is missed
	$(BIN)/python -m bench $(ARGS)

performance: $(VENV)/.stamp ## measure everything; docs/performance.md and its plots are made anew (ARGS='goals layers')
	$(BIN)/python -m bench.page --measure $(ARGS)

test-all: $(VERSIONS:%=test-%) ## pytest on each of Python 3.11, 3.12 and 3.13 that is installed

$(VERSIONS:%=test-%): test-%:
	@for python in python$* $$HOME/.pyenv/versions/$*.*/bin/python; do \
		if "$$python" -c '$(USABLE)' 2>/dev/null; then \
			$(MAKE) --no-print-directory PYTHON="$$python" .venvs/$*/.stamp || exit 1; \
			echo "Python $*"; exec .venvs/$*/bin/pytest -n $(JOBS) --dist worksteal $(ARGS); \
		fi; \
	done; echo "Python $*: not installed, left out"

$(VERSIONS:%=.venvs/%/.stamp): .venvs/%/.stamp: pyproject.toml
	$(call make_venv,$(PYTHON),.venvs/$*,.[dev$(comma)sqlite$(comma)cbor2$(comma)nats$(comma)cli])

dist: $(VENV)/.stamp ## wheel and sdist in dist/, the same bytes for the same commit
	rm -rf dist
	SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/python -m hatchling build
	cd dist && sha256sum *

clean: ## remove what the other targets made
	rm -rf $(VENV) .venvs build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage htmlcov
	find asyncpq tests bench docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

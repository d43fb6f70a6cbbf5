# What a person or CI does with a checkout; `make` alone lists it.

CONFIG = config.yaml
ARGS =
PY = .venv/bin/python
SPREAD = -n 4 --dist loadgroup

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run test test-all test-nginx lint types check schema soak fuzz bench bench-smoke clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

setup:  ## install what is missing: nginx with njs, .venv (PYTHON=python3.12 chooses its Python)
	@scripts/setup
	@echo "Everything that make run needs is here."

run:  ## serve the demo, after setup where needed, or APP=/path/to/app.py, or CONFIG=other.yaml; Ctrl-C stops it
	@scripts/setup
	@exec $(PY) launcher.py $(or $(APP),$(CONFIG)) $(ARGS)

test:  ## run the tests, after setup where needed, but for the slow ones (ARGS='-k cookie')
	@scripts/setup --tests
	@echo "All of them take about six minutes on two idle cores."
	@$(PY) -m pytest $(SPREAD) -m 'not slow' $(ARGS)

test-all:  ## run all tests
	@scripts/setup --tests
	@$(PY) -m pytest $(SPREAD) $(ARGS)

test-nginx:  ## run those of routing, cache and sessions with each other nginx that Debian has
	@scripts/setup --tests
	@scripts/test-nginx $(SPREAD) $(ARGS)

lint:  ## check style and format with ruff
	@scripts/setup --lint
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types:  ## check types with mypy
	@scripts/setup --lint
	@$(PY) -m mypy

check: lint types test  ## all of lint, types and test

schema:  ## write conf/config.schema.json anew, after a change of the settings
	@scripts/setup --lint
	@$(PY) launcher.py --schema >conf/config.schema.json

soak:  ## ten minutes of faults under live sessions, with a report (ARGS='-s 60')
	@scripts/setup --tests
	@$(PY) benchmarks/soak.py $(ARGS)

fuzz:  ## requests made up at random, for as long as asked (SECONDS=600; SEED=7 makes the same again)
	@scripts/setup --tests
	@FUZZ_SECONDS=$(or $(SECONDS),60) FUZZ_SEED=$(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom)) $(PY) -m pytest -q -s -n 0 tests/front/test_fuzz.py

bench:  ## measure it against nginx, HAProxy, Caddy and uvicorn, in minutes (ARGS='-s 1,2 -r 5')
	@scripts/setup --bench
	@$(PY) benchmarks/bench.py $(ARGS)

bench-smoke:  ## each of its scenarios for a moment, to see that it yields figures
	@scripts/setup --bench
	@$(PY) benchmarks/bench.py --smoke $(ARGS)

clean:  ## remove .venv, caches and what the launcher wrote
	@for pid in $$(cat run/*.pid 2>/dev/null); do \
		! kill -0 $$pid 2>/dev/null || { echo "Process $$pid runs from run/; stop it first."; exit 1; }; \
	done
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist run conf/sticky.conf \
		.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

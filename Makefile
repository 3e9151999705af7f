# The commands of development. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Some images of Python set it. Each program that a test starts would then compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo serve console test test-console test-browser test-all coverage soak check format api-types lock audit bench bench-quick bench-check bench-sdk bench-peers clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv with everything that the other targets need, at pinned versions

# What it takes to serve: a third of what it takes to test, so that a first try starts soon.
$(INSTALLED): requirements/server.txt requirements/build.txt pyproject.toml hatch_build.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/server.txt --requirement requirements/build.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --no-index --editable .
	@touch $@

$(READY): $(INSTALLED) requirements/dev.txt
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

demo: $(INSTALLED) build-console ## Serve a fresh log of recorded agent runs, and print commands to try
	$(BIN)/whence demo

serve: $(INSTALLED) build-console ## Serve your own log, with settings from WHENCE_* variables
	$(BIN)/whence serve

# When its sources are newer. Without Node a line says so, and the server goes without it.
.PHONY: build-console
build-console: $(INSTALLED)
	@$(BIN)/python console/build.py

console: $(INSTALLED) ## Build the console if its sources are newer (needs Node 20.19 or later)
	@$(BIN)/python console/build.py --required

# Each process begins with its own part of the files, so that few start the same server; one that is done takes from the
# others. Tests by hypothesis try a quarter of their examples here.
test: $(READY) ## The checks and the tests that a change needs, some minutes. ARGS=-k… chooses
	@$(MAKE) --no-print-directory --jobs 2 check test-console
	WHENCE_TEST_QUICK=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow" $(ARGS)

# In CI it is an error if Node is missing.
test-console: $(READY) build-console
	@$(BIN)/python console/build.py test $(if $(CI),--required)

test-browser: $(READY) build-console ## Try the console in Debian's Chromium, against a server with the recorded runs
	npm --prefix console run test:browser

# The slow tests wait for nearly half of their time. The others use the processors meanwhile, so one process more runs.
test-all: check test-console ## Everything that must hold: the same with the slow tests, twenty minutes
	$(BIN)/python -m pytest -n 3 --dist worksteal -q $(ARGS)

# Measuring slows the tests down. One that fails for that reason does not keep the report away.
coverage: $(READY) ## Which lines and branches of the package the tests of `make test` leave out
	$(BIN)/coverage erase
	-WHENCE_TEST_QUICK=1 $(BIN)/coverage run -m pytest -n 2 --dist worksteal -q -m "not slow" $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: $(READY) ## The long forms of the tests that break things; hours. ARGS=-k… chooses, WHENCE_TEST_SEED=… repeats
	WHENCE_SOAK=1 $(BIN)/python -m pytest -q tests/acceptance tests/storage/test_postgres_crash.py \
		tests/storage/test_postgres_writers.py tests/storage/test_upgrade.py tests/contract \
		tests/api/test_auth_matrix.py $(ARGS)
	WHENCE_SOAK=1 WHENCE_TEST_PROCESSES=3 $(BIN)/python -m pytest -q tests/acceptance $(ARGS)

check: $(READY) ## Check lint rules, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

api-types: $(INSTALLED) ## Write the console's types of the API anew from the OpenAPI document
	@$(BIN)/python console/build.py api-types --required

lock: ## Update the pinned dependencies and their hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--upgrade --extra server --extra postgres --group dev --output-file requirements/dev.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--constraint requirements/dev.txt --extra server --extra postgres --output-file requirements/server.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--constraint requirements/dev.txt --group build --output-file requirements/build.txt

audit: ## Check the pinned dependencies for known vulnerabilities (needs uv and the network)
	uvx pip-audit --require-hashes --disable-pip --requirement requirements/dev.txt

bench: $(READY) bench-peers ## Measure against limits and peers, and write docs/performance.md; takes 90 minutes and 60 GB
	$(BIN)/python -m bench.run $(ARGS)

bench-quick: $(READY) bench-peers ## Measure a small log in some minutes; writes only a result
	$(BIN)/python -m bench.run --quick $(ARGS)

bench-check: $(READY) bench-peers ## Fail if a ratio fell by more than 15 % since the last quick result of this machine
	$(BIN)/python -m bench.run --quick --check $(ARGS)

bench-sdk: $(READY) bench-peers ## Compare the SDK with others in eight scenes, and write docs/sdk-comparison.md; half an hour
	$(BIN)/python -m bench.sdk_scenes
	$(BIN)/python -m bench.sdk_cost

bench-peers: ## Create the environments of the peers, in bench/.venvs
	PYTHON=$(PYTHON) bench/peers/setup.sh

clean: ## Remove everything that the other targets create
	rm -rf $(VENV) .venvs bench/.venvs bench/.stores build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache src/whence/api/static console/node_modules

# Two commands are all that a newcomer needs: `make serve` and `make test`. Both set up what they need in .venv first.

VENV := .venv
BIN := $(VENV)/bin
# The interpreter that makes the virtual environment: `make serve PYTHON=/path/to/python` (or the variable PYTHON)
# overrides the search for one that is new enough.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; break; fi; done)
ARGS ?=
PYTEST_ARGS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Hashes and exact versions, but nothing of the machine that made the file.
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras --generate-hashes \
	--allow-unsafe --all-build-deps --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help serve docs test lint format types unit generated bench bench-scan-workers crash polyglot isolation linearizability feeds-model compose-test lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)$$/make \1\t\2/' | expand -t 16

serve: $(VENV)/.installed-runtime ## Start the database in the foreground; ARGS="--processes" and so on are passed on
	@exec $(BIN)/photondb serve $(ARGS)

test: lint types unit ## Lint, check types, run the whole test suite

lint: $(VENV)/.installed-dev ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## Put the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## Check types
	$(BIN)/mypy

unit: $(VENV)/.installed-dev ## Run the tests; PYTEST_ARGS="tests/bus -k wildcard" chooses some
	$(BIN)/pytest -n auto --maxprocesses 4 $(PYTEST_ARGS)

generated: $(VENV)/.installed-dev ## Try 20 times as many generated examples as `make test`, and other ones every time; TIMES=100 for more
	PHOTONDB_TEST_EXAMPLES_TIMES=$(or $(TIMES),20) $(BIN)/pytest -n auto --maxprocesses 4 --timeout 7200 -m hypothesis $(PYTEST_ARGS)

bench: $(VENV)/.installed-dev ## Measure, and write the tables and plots of docs/performance.md (ten minutes)
	$(BIN)/python -m benchmarks.suite $(ARGS)

bench-scan-workers: $(VENV)/.installed-dev ## Measure what scan workers gain for 1,000,000 documents (two minutes); wants two idle cores
	$(BIN)/python -m benchmarks.scan_workers $(ARGS)

crash: $(VENV)/.installed-dev ## Kill storage 240 times under load, at random moments and at every point of its commits, and nodes and fronts of suites 60 times each
	PHOTONDB_CRASH_ROUNDS=240 PHOTONDB_NODE_CRASH_ROUNDS=60 PHOTONDB_FRONT_CRASH_ROUNDS=60 $(BIN)/pytest tests/chaos/test_crash.py tests/chaos/test_storage_node_crashes.py tests/chaos/test_front_crashes.py

polyglot: $(VENV)/.installed-dev ## Run RethinkDB's language tests against a fresh server; PROCESSES=1 for --processes, STORAGE_NODES=3 for spread tables
	$(BIN)/python -m tests.compat.polyglot $(if $(PROCESSES),--processes) $(if $(STORAGE_NODES),--storage-nodes $(STORAGE_NODES))

feeds-model: $(VENV)/.installed-dev ## Compare a thousand random runs of changefeeds with their model; RUNS=5000 for more
	PHOTONDB_FEEDS_MODEL_RUNS=$(or $(RUNS),1000) $(BIN)/pytest -n auto --maxprocesses 4 tests/changefeed/test_feeds_model.py

isolation: $(VENV)/.installed-dev ## Check 10,000 generated histories of transactions for each level of isolation
	PHOTONDB_TEST_HISTORIES=10000 $(BIN)/pytest tests/storage/isolation

linearizability: $(VENV)/.installed-dev ## Look for answers that cannot have been, while processes die, stand still and tables move: 10 minutes for each of 5 deployments; SECONDS=60 for less
	PHOTONDB_LINEARIZABILITY_SECONDS=$(or $(SECONDS),600) $(BIN)/pytest tests/linearizability

compose-test: $(VENV)/.installed-dev ## Test the suite in containers; sets up Docker and a base image where that is allowed
	./compose/test.sh

docs: $(VENV)/.installed-dev ## Write the pages that are made from the code
	$(BIN)/python -m photondb.reql.reference > docs/reql.md.new && mv docs/reql.md.new docs/reql.md
	$(BIN)/python -m photondb.telemetry.reference > docs/observability.md.new && mv docs/observability.md.new docs/observability.md
	$(BIN)/python -m tests.helm.values_table

lock: $(VENV)/.installed-dev ## Bring the pinned dependencies up to date with pyproject.toml
	$(PIP_COMPILE) --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean: ## Remove the virtual environment and caches, but never the data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

# The package itself is installed without its dependencies (the lock file named them all) and with the locked build
# tool instead of whichever is newest today.
$(VENV)/.installed-runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	@touch $@ $(VENV)/.installed-runtime

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "PhotonDB needs Python 3.11 or newer; say where it is: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "PhotonDB needs Python 3.11 or newer, and $(PYTHON) is not" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

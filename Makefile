# Everything a newcomer types. `make run` and `make test` set up what they need; Python 3.11 or newer with its `venv` module is all
# they ask for.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
FAST   := tests/checks tests/diagnosis tests/requests tests/cli/test_help.py tests/evidence/test_packs_0_1.py $(wildcard tests/test_*.py)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run ui check test test-full lint bench soak pictures clean constraints

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed  ## The whole job against the reference service, about 80 seconds
	$(BIN)/rig run

ui: $(VENV)/.installed-locust  ## Locust's web UI with native workers, at the address that it prints
	$(BIN)/rig ui

check: $(VENV)/.installed-test lint  ## Lint and the tests without a database or processes, under a minute; for every save
	$(BIN)/python -m pytest $(FAST) -m "not full and not bench" --numprocesses auto

test: $(VENV)/.installed-test lint  ## Lint and all tests that CI runs
	$(BIN)/python -m pytest -m "not full and not bench" --numprocesses auto

test-full: test  ## Everything: after the tests of CI the long proofs, one after the other; about an hour
	$(BIN)/python -m pytest -m full

lint: $(VENV)/.installed-test  ## Style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench  ## Benchmarks, into docs/benchmarks; keep the machine quiet
	$(BIN)/python -m tests.bench.clients
	$(BIN)/python -m pytest tests/bench -m bench -s

soak: $(VENV)/.installed-test  ## A million requests in one drive, thirty whole runs in one process; about seven minutes
	$(BIN)/python -m pytest tests/engine/test_soak.py tests/safety/test_soak.py -s

pictures: $(VENV)/.installed-test $(VENV)/.installed-locust  ## The pictures in docs/pictures, from real runs; about two minutes
	$(BIN)/python -m tests.pictures

clean:  ## Remove the environment and caches; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(VENV)/.installed-test  ## Pin every dependency anew
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --upgrade --all-extras --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --output-file constraints.txt

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # half of one would be taken for whole

# The constraints hold for the build environment too, under the name that pip 25.3 gave it and the one before. Of this
# folder: pip splits a list of paths at spaces, and the way here may have some.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

# Compiled here, once: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE, as in many containers), each of the
# many processes of the rig would compile all of it again.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	$(BIN)/python -m compileall -q fleet_jwks rig scenarios stub_server
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-test
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.installed-locust: $(VENV)/.installed
	$(PIP) --editable '.[locust]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

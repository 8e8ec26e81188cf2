# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# The tests wait for each other's processes now and then: one worker more than there are cores.
WORKERS := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo run test check lint crash bench docs install uninstall format lock clean

demo: $(VENV)/ready  ## the whole thing on this machine, in under a minute
	@$(BIN)/syncd demo

run: $(VENV)/ready  ## the daemon, with config/sync.toml
	$(BIN)/syncd run

test: $(VENV)/ready-dev  ## the test-suite, with branch coverage
	$(BIN)/pytest -n $(WORKERS) --cov --cov-report=term

check: lint test  ## everything that must hold before a change lands
	$(BIN)/python .ci/units.py
	$(BIN)/python .ci/service.py
	$(BIN)/python .ci/wheel.py

lint: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

crash: $(VENV)/ready-dev  ## the daemon killed at ROUNDS random points, and at each named step; see docs/reliability.md
	PYTHONPATH=tests $(BIN)/python -m crash.many $(or $(ROUNDS),200)

bench: $(VENV)/ready  ## syncd beside its peers; BENCH="NAME... --quick" and more: see benchmarks/README.md
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/ready-dev  ## docs/commands.md and the man page docs/syncd.1, out of --help; docs/configure.md, out of the schema
	$(BIN)/python .ci/commands.py
	$(BIN)/python .ci/configure.py

install:  ## as a system service, or an upgrade of it; PREFIX=/opt/syncd, DESTDIR= and PYTHON= as systemd/install says
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" PYTHON="$(if $(filter command line environment,$(origin PYTHON)),$(PYTHON))" \
		systemd/install install

uninstall:  ## the program and its units; config, journal and tree stay
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" systemd/install uninstall

format: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## pin again what is installed, after an edit of pyproject.toml
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q --upgrade --group build -o requirements.lock
	uv pip compile pyproject.toml --group build --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q --upgrade -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "syncd needs Python 3.11 or newer; none was found (set PYTHON=/path/to/python3)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: $(BIN)/python requirements.lock pyproject.toml
	@echo "installing what syncd needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	@echo "installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

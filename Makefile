# make sweep [ARGS="..."]   set up .venv if need be, then run sweeps/objectives.yaml; ARGS=--quick makes a small report within
#                          minutes, ARGS=--help explains the rest
# make test  [ARGS="..."]   set up .venv if need be, then run the tests, in as many processes as there are cores, up to four;
#                          ARGS="-n 0 ..." runs them in one
# make check               set up .venv if need be, then run the formatter and the linter over all code; "make fix" mends what they can
# PYTHON=python3.12 chooses the Python (3.10 or newer) that .venv is made with.

PYTHON ?= python3
SHELL := /bin/bash
READY := .venv/.ready
PEERS := .venv/.peers

.PHONY: sweep test check fix

sweep: $(READY)
	@.venv/bin/python -m ablate.sweep sweeps/objectives.yaml $(ARGS)

test: $(PEERS)
	@.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(READY)
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .

fix: $(READY)
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

$(READY): pyproject.toml constraints.txt
	@if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	  command -v "$(PYTHON)" >/dev/null || \
	    { echo "error: No '$(PYTHON)' here; install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "error: $$("$(PYTHON)" --version) is too old, 3.10 or newer is needed; name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	    { echo "error: '$(PYTHON)' comes without venv or ensurepip; install them (Debian, Ubuntu: apt-get install python3-venv)" \
	           "or name another Python: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  echo "Making .venv with $$("$(PYTHON)" --version)."; \
	  "$(PYTHON)" -m venv --clear .venv; \
	fi
	@echo "Installing what constraints.txt pins into .venv; the first time takes some minutes."
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[builtin,test]'
	@touch $(READY)

$(PEERS): $(READY)
	@echo "Installing what the tests compare with, and TensorBoard."
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[builtin,test,peers,tensorboard]'
	@touch $(PEERS)

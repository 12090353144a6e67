# Everything a fresh machine with Python 3.11 and make needs: `make demo`, `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# uv is used where it is installed; where it is not, pip brings it into .uv.
UV := $(or $(shell command -v uv),.uv/bin/uv)
RUN := .venv/bin

.PHONY: demo test check lint format types clean
.DEFAULT_GOAL := demo

demo: .venv/ready  ## the whole pipeline on a data set that it draws itself
	$(RUN)/outnumbered data make-sample sample
	$(RUN)/outnumbered run --preset demo --output runs/demo

test: .venv/ready  ## the tests
	$(RUN)/pytest -n auto --dist loadfile

check: lint types  ## lint, format and type checks

lint: .venv/ready
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: .venv/ready
	$(RUN)/mypy

format: .venv/ready  ## mends what lint finds
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

.uv/bin/uv:
	$(PYTHON) -m pip install --quiet --target .uv 'uv>=0.7,<1'

.venv/ready: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --python $(PYTHON) --compile-bytecode
	touch $@

clean:
	rm -rf .venv .uv runs sample .pytest_cache .mypy_cache .ruff_cache

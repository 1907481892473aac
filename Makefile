# What to run: `make demo` to see sidle at work, `make test` before every commit.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= auto
NAME ?=

# Real data for tests and benchmarks, where it lies beside the checkout.
export SIDLE_DATA ?= $(wildcard $(abspath ../shared/data))

.PHONY: demo test test-long lint format bench docs clean

demo: $(BIN)/.installed
	$(BIN)/sidle run all --preset quick
	$(BIN)/sidle report
	$(BIN)/sidle claims

test: $(BIN)/.installed
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-long: $(BIN)/.installed
	$(BIN)/pytest -m "long or not long"

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.installed
	@test -n "$(NAME)" || { echo "make bench NAME=...; one of:"; ls benchmarks/bench_*.py; exit 2; }
	$(BIN)/python benchmarks/bench_$(NAME).py

docs: $(BIN)/.installed
	$(BIN)/mkdocs build --strict --site-dir site

clean:
	rm -rf build dist site report .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[all]"
	touch $@

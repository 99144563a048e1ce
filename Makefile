# make demo    erase a concept from the embedded model and show it
# make test    what every change must pass
# Both make their own virtual environment first, once; another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
# A version known to work, installed only where the environment has none. Another one, or another build: make TORCH=torch demo.
# On Linux the plain package brings several GB for NVIDIA cards; without such a card, install torch's CPU build into $(VENV) first.
TORCH ?= torch==2.13.0 torchvision==0.28.0

BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: demo test test-all lint bench clean

demo: $(READY)
	$(BIN)/erase-concept --concept star --output runs/demo-star

test: $(READY)
	$(BIN)/ruff check
	$(TEST) -m "not slow"

test-all: $(READY)
	$(BIN)/ruff check
	$(TEST)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# One after another: two at once would measure each other.
bench: $(READY)
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

# What make and the tools have made. Run folders stay: they are yours.
clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The second install leaves torch alone, for pip upgrades only what does not fit.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip show --quiet torch || $(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install --editable ".[eval,classify,nudity,ui,dev]"
	touch $@

# make demo    erase a concept from the embedded model and show it
# make test    what every change must pass
# Both make their own virtual environment first, once; another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
# torch and torchvision, always installed together: each torchvision is built for one torch. What is in $(VENV) already is kept.
# Other versions, or a build for the CPU alone: make TORCH="torch==... torchvision==... --index-url ..." demo (see README).
TORCH ?= torch torchvision

BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESULTS ?= runs/bench
CPU_TABLES := demo_quality scenes_quality erasing evaluation repair_step published_step latents_cache generation selection scoring cost
GPU_WAYS := published ours ours-bfloat16
# Compiled modules are kept, also where the environment says otherwise: the tests start many processes.
TEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo browser test test-all test-versions test-newest lint bench bench-large bench-quality bench-gpu clean

demo: $(READY)
	$(BIN)/erase-concept --concept star --output runs/demo-star

test: $(READY) browser
	$(BIN)/ruff check
	$(BIN)/mypy
	$(TEST) -m "not slow"

test-all: $(READY) browser
	$(BIN)/ruff check
	$(BIN)/mypy
	$(TEST)

# The product with the oldest versions that pyproject.toml allows, and with the newest that pip takes: from its wheel, each in an environment
# of its own (5 to 6 GB). `make clean` removes these; what is newest by now comes then.
test-versions:
	$(PYTHON) tests/versions.py oldest newest

test-newest:
	$(PYTHON) tests/versions.py newest

# The page is tested in a real browser, where one is there or may be installed; where not, these tests say that they were skipped.
browser:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get install -y -q chromium >/dev/null 2>&1; } || \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -q >/dev/null 2>&1 && apt-get install -y -q chromium >/dev/null 2>&1; } || \
	  echo "no chromium: the tests of the page in a browser will be skipped"

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# One after another: two at once would measure each other. Records go to $(RESULTS), a file each.
bench: $(READY)
	set -e; for name in $(CPU_TABLES); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py --json $(RESULTS)/$$name.json; done

# Stable Diffusion 1.x's size on the CPU: 15 GB of disk for a while, 10 GB of memory, and time.
bench-large: $(READY)
	for n in 200 860; do $(BIN)/python benchmarks/selection.py --scores $${n}_000_000 --json $(RESULTS)/selection-$${n}m.json || exit 1; done
	$(BIN)/python benchmarks/whole_job.py --json $(RESULTS)/whole_job.json

# Every preset over seeds, every option and every part of the method: two hours.
bench-quality: $(READY)
	$(BIN)/erase-concept bench --concepts star red striped --seeds 3 --evaluate-count 48 --output runs/presets \
	  --methods scissorhands scissorhands:preset=paper scissorhands:preset=reference
	$(BIN)/python benchmarks/ablation.py --output runs/ablation --concepts star red striped --rows options parts

# The same on a card, at Stable Diffusion 1.x's size with random weights; the large tables need 80 GB.
bench-gpu: $(READY)
	$(BIN)/python benchmarks/gpu_step.py --device cuda --json $(RESULTS)/gpu_step.json
	$(BIN)/python benchmarks/gpu_step.py --device cuda --batches 4 --scope cross-attention --optimizer adafactor \
	  --variants bfloat16 bfloat16+checkpointing --json $(RESULTS)/gpu_step-low.json
	$(BIN)/python benchmarks/published_step.py --size sd1 --device cuda --steps 5 --ways $(GPU_WAYS) --json $(RESULTS)/published_step-gpu.json
	$(BIN)/python benchmarks/scoring.py --size sd1 --device cuda --dtype bfloat16 --json $(RESULTS)/scoring-gpu.json
	$(BIN)/python benchmarks/latents_cache.py --size sd1 --device cuda --dtype bfloat16 --json $(RESULTS)/latents_cache-gpu.json
	$(BIN)/python benchmarks/generation.py --size sd1 --device cuda --dtype bfloat16 --count 32 --batch 8 --json $(RESULTS)/generation-gpu.json
	$(BIN)/python benchmarks/selection.py --scores 860_000_000 --device cuda --json $(RESULTS)/selection-gpu.json

# What make and the tools have made. Run folders stay: they are yours.
clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The second install leaves torch and torchvision alone: pip upgrades only what does not meet a requirement.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch, torchvision" 2>/dev/null || $(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install --editable ".[eval,classify,nudity,ui,dev]"
	touch $@

# Every target sets up what it needs: on a fresh machine only Python >= 3.11 with pip, make and git are there.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/finetune-operator
UV := $(or $(shell command -v uv),$(CACHE)/uv/bin/uv)
RUN := $(UV) run --no-sync

# Some environments forbid it. Compiled anew, our sources cost each process 0.4 CPU seconds, and the tests their workers more.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: install ## Fine-tune a small real Mistral on this machine, no cluster needed
	$(RUN) python crds/examples/quickstart.py
	$(RUN) finetune run crds/examples/quickstart.yaml

check: ## Every check, and every test that needs no root
	$(MAKE) --no-print-directory --jobs=2 quick test

quick: install ## What pre-commit runs: format, lint, types, boundaries, drift
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python -m finetune_api --check

test: install ## Tests that need no root; Kubernetes and S3 server are built beside them when they are not there yet
	$(RUN) python tests/kit/binaries.py build & \
	$(RUN) pytest --numprocesses=3 --no-loadscope-reorder; status=$$?; wait; exit $$status

e2e: install ## As root: chart, queue, interrupted runs, and whole jobs on a real cluster of two nodes, with both images
	$(RUN) python tests/kit/binaries.py build --nodes
	$(RUN) pytest tests/charts tests/kubernetes/kueue tests/e2e/machine/faults
	$(RUN) pytest tests/e2e/cluster

bench-prepare: install ## Data preparation against the pipeline of today, 200 MB of each kind
	PYTHONPATH=tests/kit $(RUN) python tests/benchmarks/prepare

bench-train: install ## Training against TRL on this machine's cores, and where a rank's start goes
	PYTHONPATH=tests/kit UV=$(UV) $(RUN) python tests/benchmarks/train/compare.py
	PYTHONPATH=tests/kit $(RUN) python tests/benchmarks/train/start.py

bench-product: install ## Every ZeRO stage, method, task and precision, each interrupted, resumed and published
	PYTHONPATH=tests/kit $(RUN) python tests/benchmarks/train/product.py

bench-gpu: install ## On a GPU: a Mistral of 7 billion weights against a plain script, and against the estimate
	PYTHONPATH=tests/kit $(RUN) python tests/benchmarks/train/gpu.py

bench: bench-prepare bench-train bench-product ## All that needs no GPU

generate: install ## Write the CRD, the chart's copy of it and the field reference
	$(RUN) python -m finetune_api

format: install ## Format and fix what can be fixed
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

# Compiled once: importing torch, transformers and deepspeed from source costs every process 9 CPU seconds more.
install: $(UV) ## Create or update .venv from uv.lock
	$(UV) sync --quiet --locked --all-packages --all-extras --no-extra qlora --all-groups --compile-bytecode

# A folder of its own, for a system Python may refuse to have anything installed into it.
$(CACHE)/uv/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target $(CACHE)/uv 'uv>=0.9,<1'

.PHONY: help quickstart check quick test e2e bench bench-prepare bench-train bench-product bench-gpu generate format install

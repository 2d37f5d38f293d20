# Two commands: `make repro` runs the main job, `make test` the test suite. Both set everything up.

PYTHONS := $(PYTHON) python3.12 python3.11 python3
VENV := .venv
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/installed.sha256

# The stages' commands say `python`: it has to be the environment's.
export PATH := $(BIN):$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: repro test faults setup ablation bench clean

repro: setup .prefect/prefect.db  ## the main job: all stages, then the accuracy before and after
	@python -m flows.repro

.prefect/prefect.db: | setup
	@python -c "import flows"  # says what is not right with Prefect's settings
	@echo "Preparing the Prefect server's database ..."
	@python -m prefect server database upgrade --yes >/dev/null

test: setup  ## style, types, tests; CI runs this
	ruff check .
	ruff format --check .
	mypy
	python -m pytest

faults: setup  ## everything that can happen to a run, a quarter of an hour; docs/reliability.md
	timeout 1800 python -m pytest tests/faults -m faults --faults-out benchmarks/results/faults.json

ablation: setup  ## the table of arms over seeds, hours
	python -m benchmarks.ablation

bench: setup  ## the cost of guided sampling, minutes; `python -m benchmarks.modes` for its quality
	python -m benchmarks.sampling

setup: $(BIN)/python
	@sha256sum --check --status $(STAMP) 2>/dev/null || $(MAKE) --no-print-directory install
	@git rev-parse --git-dir >/dev/null 2>&1 || test -e .dvc/config.local || \
		$(BIN)/python -m dvc config --quiet --local core.no_scm true  # DVC wants to be told

# Bytecode is compiled once here, not by each of the stages' processes.
.PHONY: install
install: $(BIN)/python
	@echo "Installing the packages of requirements.lock into $(VENV) ..."
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --compile-bytecode \
		--require-hashes -r requirements.lock
	@sha256sum requirements.lock > $(STAMP)

$(BIN)/python:
	@for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
			2>/dev/null || continue; \
		"$$python" -m venv $(VENV) && exit 0; \
		echo "$$python makes no environment: Debian and Ubuntu need the package python3-venv"; \
		exit 1; \
	done; \
	echo "Python 3.11 or 3.12 is needed; name one: make PYTHON=/path/to/python3.12"; exit 1

clean:  ## removes what the stages made; the environment and DVC's cache stay
	rm -rf data/prepared data/synthetic models/baseline models/final .prefect
	find reports -mindepth 1 -not -name .gitignore -delete

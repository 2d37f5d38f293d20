# Two commands: `make repro` runs the main job, `make test` the test suite. Both set everything up.

# Every path below is relative, so the repository may lie anywhere but here:
ifneq (,$(findstring :,$(CURDIR)))
$(error This folder's path has a colon, which no list of folders for programs (PATH) can hold; move the repository: $(CURDIR))
endif

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.sha256
BUILD := $(VENV)/torch.txt
UV := $(BIN)/python -m uv
PYTHONS := python3.12 python3.11 python3.13 python3

# The stages' commands say `python`: it has to be the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHON
export TORCH

# As they were typed: a folder may have a $ in its name, and what follows is no program.
TYPED := $(filter command,$(origin DATA))
override RECIPE := $(value RECIPE)
override DATA := $(value DATA)
override GENERATOR := $(value GENERATOR)
export RECIPE
export DATA
export GENERATOR

export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: repro init test faults setup ablation controls usefulness bench clean

# DATA without RECIPE is a mistake on the command line, and none in the environment.
repro: setup .prefect/prefect.db  ## the main job: all stages, then the accuracies and the gain
	@python -m flows.repro $(if $(RECIPE)$(TYPED),$(FROM_RECIPE))

FROM_RECIPE = --recipe "$$RECIPE" --data "$$DATA" --generator "$$GENERATOR"

init: setup  ## looks at your own pictures in DATA, says what they are, writes params.yaml
	@python -m flows.init "$$DATA" $(if $(GENERATOR),--generator "$$GENERATOR")

.prefect/prefect.db: | setup
	@python -c "import flows"  # says what is not right with Prefect's settings
	@echo "Preparing the Prefect server's database ..."
	@python -m prefect server database upgrade --yes >/dev/null

test: setup  ## style, types, tests; CI runs this
	python -m ruff check .
	python -m ruff format --check .
	python -m mypy
	python -m pytest

faults: setup  ## everything that can happen to a run, a quarter of an hour; docs/reliability.md
	timeout 1800 python -m pytest -n 0 tests/faults -m faults --faults-out benchmarks/results/faults.json

ablation: setup  ## the table of arms over seeds, hours
	python -m benchmarks.ablation

controls: setup  ## what synthesis is worth against the strongest controls, hours; DATA=name
	python -m benchmarks.controls --test $(if $(DATA),--data "$$DATA")

usefulness: setup  ## what foretells the worth of a set, audits and pictures; after `make controls`
	python -m benchmarks.usefulness
	python -m benchmarks.controls_plot

bench: setup  ## the cost of guided sampling, minutes; `python -m benchmarks.modes` for its quality
	python -m benchmarks.sampling

# TORCH=cpu chooses a build without CUDA; the environment remembers it. docs/setup.md
setup: $(BIN)/python
	@case "$$TORCH" in \
		"") ;; \
		cpu) echo cpu | cmp --silent - $(BUILD) || echo cpu > $(BUILD) ;; \
		*) echo "TORCH is cpu, or left out for the build of requirements.lock" >&2; exit 2 ;; \
	esac
	@touch $(BUILD)
	@sha256sum --check --status $(STAMP) 2>/dev/null || $(MAKE) --no-print-directory install
	@git rev-parse --git-dir >/dev/null 2>&1 || test -e .dvc/config.local || \
		$(BIN)/python -m dvc config --quiet --local core.no_scm true  # DVC wants to be told

# Bytecode is compiled once here, not by each of the stages' processes.
.PHONY: install
install: $(BIN)/python
	@echo "Installing the packages of requirements.lock into $(VENV) ..."
	@$(UV) --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	@if test -s $(BUILD); then $(CPU_TORCH); else \
		$(PIP) --compile-bytecode --require-hashes -r requirements.lock; \
	fi
	@sha256sum requirements.lock $(BUILD) > $(STAMP)

PIP := $(UV) pip install --quiet --python $(BIN)/python

# All but torch, and what it alone needs for CUDA, as locked; then the same versions of torch and
# torchvision from a CPU build, whose digests no lock can know.
define CPU_TORCH
awk '/^[a-z]/ { drop = /^(torch==|torchvision==|triton==|cuda-|nvidia-)/ && !/^nvidia-ml-py==/ } !drop' \
	requirements.lock > $(VENV)/locked.txt && \
	sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2+cpu/p' requirements.lock > $(VENV)/cpu.txt && \
	$(PIP) --no-deps --compile-bytecode --require-hashes -r $(VENV)/locked.txt && \
	{ $(PIP) --no-deps --compile-bytecode -r $(VENV)/cpu.txt || { \
		echo "no index offers" $$(cat $(VENV)/cpu.txt)"; name one that does: make setup" \
			"TORCH=cpu UV_INDEX=<its address>, or remove $(BUILD) for the locked build" >&2; \
		exit 1; \
	}; }
endef

$(BIN)/python:
	@for python in "$$PYTHON" $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
			2>/dev/null || continue; \
		"$$python" -m venv $(VENV) && exit 0; \
		echo "$$python makes no environment: Debian and Ubuntu need the package python3-venv"; \
		exit 1; \
	done; \
	echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=/path/to/python3.12"; exit 1

clean:  ## removes what the stages made; the environment and DVC's cache stay
	rm -rf data/prepared data/synthetic data/.synthetic-guidance models/baseline models/control models/final models/judge models/adapter .prefect
	find reports -mindepth 1 -not -name .gitignore -delete

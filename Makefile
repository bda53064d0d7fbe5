# Every target makes its own virtual environment first; nothing else needs to be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# RECORD=1 keeps what a verify-NAME prints, with revision, date and CPU, for `make results`.
RECORDED = $(if $(RECORD),FASDK_RECORD=docs/results/lines/$@.jsonl )
# These alone run under coverage: tracing doubles the time of tests that spend theirs in torch.
COVERED := tests/sdk tests/attacks tests/native
QUICK := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal
# A C++ compiler for the native pass and the simulated CUDA driver, the aarch64 cross compiler and
# qemu for its vectors, Chromium for the report, libusb for RealSense, systemd-analyze for the unit,
# GStreamer and PyGObject for its cameras.
SYSTEM_PACKAGES := cmake g++ make g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user chromium \
	libusb-1.0-0 softhsm2 systemd python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install setup-system demo demo-checkpoint test lint slow cuda-sim bench bindings axe docs reference reference-output results verify-main verify-models verify-calibration verify-runtime verify-structure verify-bring verify-trust verify-profile verify-gpu verify-methods verify-operate prove-gpu fuzz sbom lock audit clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

install: $(STAMP)  ## Make .venv with everything pinned

$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard sdk/native/*.cpp sdk/native/include/fasdk/* sdk/native/cuda/*)
	@echo "Installing into $(VENV) (pinned by constraints.txt; a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e '.[dev,rtx]' --progress-bar on
	@touch $@

setup-system:  ## Install what tests need from the package manager (Debian, Ubuntu; as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM_PACKAGES)

demo: $(STAMP)  ## Build, tune and evaluate fasdk's own checkpoint on synthetic captures, in two minutes
	$(BIN)/fasdk demo

demo-checkpoint: $(STAMP)  ## Train that checkpoint again from its seeds, in an hour, into build/demo-checkpoint
	$(BIN)/python -m fasdk_tools.training.recipe --out build/demo-checkpoint

lint: $(STAMP)  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tools/bench/*.py tools/gpu/*.py tools/verify/*.py tools/examples/*/*.py
	$(BIN)/mypy tools/docs/*.py docs/conf.py
	$(BIN)/lint-imports

test: lint bindings  ## Lint, types, layers and the quick suite with coverage of sdk/
	$(QUICK) --cov --cov-report=term:skip-covered --cov-fail-under=90 $(COVERED)
	$(QUICK) $(COVERED:%=--ignore=%)

slow: $(STAMP) bindings axe cuda-sim  ## What is too heavy for `make test`
	$(BIN)/pytest -m 'slow and not gpu and not cuda_sim' --timeout=900

cuda-sim: $(STAMP)  ## The tests on the simulated CUDA driver, which it builds, with pycuda
	PYTHONPATH=tests $(BIN)/python -m support.cuda_sim.build
	$(BIN)/pytest -m cuda_sim --timeout=900

bench: $(STAMP)  ## One JSON line a benchmark
	$(BIN)/python tools/bench/preprocess.py
	@for model in mmdg mmdgpp mmda bigmoe; do \
		$(BIN)/python tools/bench/latency.py $$model $(if $(PUBLISHED),--published $(PUBLISHED)/$$model) || exit 1; \
		$(BIN)/python tools/bench/backends.py $$model || exit 1; \
	done

bindings: $(STAMP)  ## Fetch the oldest and newest TensorRT bindings, which the attribute test reads
	PYTHONPATH=tests $(BIN)/python -m support.tensorrt_bindings.fetch

axe: $(STAMP)  ## Fetch axe-core, which judges the pages' accessibility in the slow tests
	PYTHONPATH=tests $(BIN)/python -m support.axe

verify-main: $(STAMP) bindings  ## One JSON line a claim; RECORD=1 keeps them, PUBLISHED=folder adds latencies
	$(RECORDED)$(BIN)/python tools/verify/main.py $(if $(PUBLISHED),--published $(PUBLISHED))

verify-models: $(STAMP)  ## The same for the published systems
	$(RECORDED)$(BIN)/python tools/verify/models.py $(if $(PUBLISHED),--published $(PUBLISHED))

verify-calibration: $(STAMP)  ## The same for INT8, operating points and the report
	$(RECORDED)$(BIN)/python tools/verify/calibration.py

verify-runtime: $(STAMP)  ## The same for the device runtime; on an otherwise idle machine
	$(RECORDED)$(BIN)/python tools/verify/runtime.py

docs: $(STAMP)  ## The documentation in build/docs, every warning an error; no network
	$(BIN)/python -m sphinx -W --keep-going -n -q -E -a -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

reference: $(STAMP)  ## Generate docs/reference and the index of the decisions from the code
	$(BIN)/python tools/docs/reference.py

reference-output: $(STAMP)  ## Generate docs/reference/output, what every verb prints on the demo, in some minutes
	$(BIN)/python tools/docs/verb_output.py

results: $(STAMP)  ## Generate docs/results/measured.md and brought.md from what `make verify-NAME RECORD=1` recorded
	$(BIN)/python tools/docs/results.py

verify-structure: $(STAMP) bindings  ## The same for structure, unchanged behavior and documents
	$(RECORDED)$(BIN)/python tools/verify/structure.py

verify-bring: $(STAMP)  ## The same for files as people bring them
	$(RECORDED)$(BIN)/python tools/verify/bring.py

verify-trust: $(STAMP)  ## The same for trust and endurance; hours at full size, OPTIONS="--only flips" measures a part
	$(RECORDED)$(BIN)/python tools/verify/trust.py $(OPTIONS)

verify-profile: $(STAMP)  ## The same for latency profiles; on an otherwise idle machine, OPTIONS="--only bounds" measures a part
	$(RECORDED)$(BIN)/python tools/verify/profiling.py $(OPTIONS)

verify-gpu: $(STAMP)  ## The same for the GPU half, without a GPU; OPTIONS="--only prove" measures a part; `install` needs the network
	$(RECORDED)$(BIN)/python tools/verify/gpu.py $(OPTIONS)

verify-methods: $(STAMP)  ## The same for data, training methods and the papers' tables; OPTIONS="--only losses" measures a part
	$(RECORDED)$(BIN)/python tools/verify/methods.py $(OPTIONS)

verify-operate: $(STAMP) axe  ## The same for installing and running doors; OPTIONS="--only pages" measures a part
	$(RECORDED)$(BIN)/python tools/verify/operate.py $(OPTIONS)

prove-gpu: $(STAMP)  ## Prove the GPU half on this machine's GPU, in five minutes; OPTIONS=--dry-run needs none
	$(RECORDED)$(BIN)/python tools/gpu/prove.py $(OPTIONS)

fuzz: $(STAMP)  ## Fuzz every parser: a million inputs each; OPTIONS="--executions 10000" for fewer
	@for target in $$(PYTHONPATH=tests $(BIN)/python -m fuzz --names); do \
		PYTHONPATH=tests $(BIN)/python -m fuzz $$target --keep .verify/fuzz --record .verify/fuzz $(OPTIONS) || failed=1; \
	done; test -z "$$failed"

AUDIT := .venv-audit
$(AUDIT)/.installed: constraints.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt cyclonedx-bom pip-audit
	@touch $@

sbom: $(STAMP) $(AUDIT)/.installed  ## Bill of materials of .venv as build/sbom.json (CycloneDX), licenses as build/licenses.txt
	@mkdir -p build
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --sv 1.6 --output-reproducible --of JSON -o build/sbom.json $(BIN)/python
	$(BIN)/python tools/docs/licenses.py build/sbom.json > build/licenses.txt

# pycuda is not among a Jetson's: it is compiled from its source on the board.
lock: $(STAMP)  ## Make the requirements.txt of tools/kiosk and tools/jetson: their installs with hashes, of the releases in constraints.txt
	@for install in 'kiosk --extra cli --extra cpu --extra opencv' 'jetson --extra cli'; do \
		set -- $$install; folder=tools/$$1; shift; \
		$(BIN)/uv pip compile pyproject.toml "$$@" --universal --python-version 3.10 --generate-hashes \
			-c constraints.txt --no-header --no-annotate -q -o build/requirements.txt && \
		(echo "# Every release that this install needs, with the SHA-256 of its files. Made by \`make lock\`."; \
			cat build/requirements.txt) > $$folder/requirements.txt || exit 1; \
	done

audit: $(AUDIT)/.installed  ## Ask the published advisories about the releases in constraints.txt; needs the network
	$(AUDIT)/bin/pip-audit --disable-pip --no-deps -r constraints.txt

clean:  ## Remove everything made here
	rm -rf $(VENV) $(AUDIT) .demo .protocols .prove .verify tests/output build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache

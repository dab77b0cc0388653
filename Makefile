# `make demo` and `make test`, each alone on a fresh machine, make .venv, install and run.
# With another Python beside it: `make test PYTHON=python3.13 VENV=.venv-3.13`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests run side by side, each file in one process; torch leaves the cores to the processes.
JOBS ?= 2
# Tests start many processes, of which each would otherwise compile dvis anew.
# Nor would they wait for a disk: the stores of tests lie in memory, where that has 4 GB to spare.
MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$6 == "/dev/shm" && $$4 > 4000000 {print $$6}')
TESTED := $(if $(MEMORY),TMPDIR=$(MEMORY)) PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
INSTALLED := $(VENV)/.installed
DOCUMENTING := $(VENV)/.documenting
RUN := demo/resnet18_checkpoints/1
STORE := demo/stores/resnet18.zarr
# A second, small network, around whose weights chains have time to settle.
DIGIT_NET := scripts.digit_net:DigitNet
DIGIT_RUN := demo/digit_net_checkpoints/1
DIGIT_STORE := demo/stores/digit_net.zarr
PAGE := demo/page
READER := test_reader_never_sees_a_wrong_image_while_the_store_grows
# What newer packages change first: reading, stores, pictures, docstrings, and a reader beside a writer.
QUICK := tests/store/test_store.py tests/store/test_steady.py tests/kinds/llc/test_llc_reading.py \
	tests/plots/test_plots.py tests/kinds/features/test_concurrent_imports.py::$(READER)

.PHONY: demo docs wheel test test-quick test-slow lint format clean

# Two studies: what each measures, step by step, stands in its file.
demo: $(INSTALLED) $(RUN)/.trained $(DIGIT_RUN)/.trained
	OMP_NUM_THREADS=1 $(BIN)/dvis study run scripts/demo/resnet18.yaml --log demo/resnet18.log
	OMP_NUM_THREADS=1 $(BIN)/dvis study run scripts/demo/digit_net.yaml --log demo/digit_net.log
	$(BIN)/python scripts/circuit_film.py $(STORE) --model resnet18 --checkpoint-path $(RUN) \
		--responses shapes --max-iterations 64 --out demo/gallery/resnet18
	$(BIN)/python scripts/gallery.py $(STORE) --out demo/gallery/resnet18
	$(BIN)/python scripts/gallery.py $(DIGIT_STORE) --out demo/gallery/digit_net
	$(BIN)/dvis assembly $(STORE) --responses shapes
	$(BIN)/python scripts/story.py demo/stores
	@echo
	@echo "Pictures: demo/gallery"
	@echo "Reports:  demo/resnet18_report.html, demo/digit_net_report.html"
	@echo "Page:     $(PAGE)/index.html; or, live: $(BIN)/dvis view $(STORE)"
	@echo "Stores:   $(STORE), $(DIGIT_STORE) (dvis.open reads them)"

$(RUN)/.trained: $(INSTALLED)
	rm -rf $(RUN) $(STORE)
	$(BIN)/python scripts/train.py --model resnet18 --dataset shapes --steps 250 --batch-size 32 \
		--n-checkpoints 12 --no-epoch-ends --n-val 200 --optimizer adamw \
		--learning-rate 0.001 --lr-warmup-steps 25 --threads 1 --out $(RUN)
	touch $@

$(DIGIT_RUN)/.trained: $(INSTALLED)
	rm -rf $(DIGIT_RUN) $(DIGIT_STORE)
	$(BIN)/python scripts/train.py --model $(DIGIT_NET) --dataset digits --image-size 8 \
		--steps 2000 --batch-size 128 --n-checkpoints 12 --no-epoch-ends --lr-schedule constant \
		--learning-rate 0.05 --weight-decay 1e-3 --threads 1 --out $(DIGIT_RUN)
	touch $@

test: $(INSTALLED)
	$(TESTED) -m "not slow"

# All of these, those that are marked slow among them.
test-quick: $(INSTALLED)
	$(TESTED) $(QUICK)

test-slow: $(INSTALLED)
	$(TESTED) -m slow

# Tutorials run, pictures are drawn; any warning is an error.
docs: $(DOCUMENTING)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MPLBACKEND=agg $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

# What would be released, in dist/, after a look at what it holds and that it runs by itself.
wheel: $(INSTALLED)
	$(TESTED) tests/release
	$(BIN)/python -m hatchling build --clean --directory dist

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[torch,timm,open-clip,slurm,remote,page]" --group dev
	touch $@

$(DOCUMENTING): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

clean:
	rm -rf .venv .venv-* demo docs/_build docs/generated

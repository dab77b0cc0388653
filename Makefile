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
LAYERS := relu layer1 layer2 layer3 layer4 fc
# Between these, all of what one channel changes in another is measured.
STAGES := layer1 layer2 layer3 layer4
# A second, small network, around whose weights chains have time to settle.
DIGIT_NET := scripts.digit_net:DigitNet
DIGIT_RUN := demo/digit_net_checkpoints/1
DIGIT_STORE := demo/stores/digit_net.zarr
# Three checkpoints at which a small autoencoder of one layer's activations is trained.
SOME := "*_train_0.*" "*_train_48.*" "*_train_250.*"
# The first and the last, at which layers are shown pairs of images.
ENDS := "*_train_0.*" "*_train_250.*"
SAE_LAYER := layer3
SAE := shapes-latents
PAGE := demo/page
READER := test_reader_never_sees_a_wrong_image_while_the_store_grows
# What newer packages change first: reading, stores, pictures, docstrings, and a reader beside a writer.
QUICK := tests/store/test_store.py tests/store/test_steady.py tests/kinds/llc/test_llc_reading.py \
	tests/plots/test_plots.py tests/kinds/features/test_concurrent_imports.py::$(READER)

.PHONY: demo docs test test-quick test-slow lint format clean

demo: $(INSTALLED) $(RUN)/.trained $(DIGIT_RUN)/.trained
	$(BIN)/python scripts/visualize.py --model resnet18 --checkpoint-path $(RUN) \
		--layers $(LAYERS) --channels 0 1 2 3 4 5 --max-iterations 64 --store $(STORE)
	$(BIN)/python scripts/respond.py --model resnet18 --checkpoint-path $(RUN) \
		--layers $(LAYERS) --feature-images all --store $(STORE)
	$(BIN)/python scripts/respond.py --model resnet18 --checkpoint-path $(RUN) \
		--layers $(LAYERS) --dataset shapes --n-images 200 --name shapes --store $(STORE)
	$(BIN)/python scripts/probe.py --model resnet18 --checkpoint-path $(RUN) \
		--layers $(LAYERS) --dataset shapes --n-images 600 --targets shape colour size \
		--name shapes --store $(STORE)
	$(BIN)/python scripts/activations.py --model resnet18 --checkpoint-path $(RUN) --checkpoints $(SOME) \
		--layers $(SAE_LAYER) --dataset shapes --keep values top:16 --name shapes --store $(STORE)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/sae.py train $(STORE) --layer $(SAE_LAYER) --checkpoints all --k 8 --expansion 1 \
		--tokens 500k --batch-size 1024 --warm-start --name $(SAE)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/sae.py evaluate $(STORE) --layer $(SAE_LAYER) --model resnet18 --checkpoint-path $(RUN) \
		--controls --untrained $$(basename $(RUN)/*_train_0.*)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/sae.py chain $(STORE) --layer $(SAE_LAYER) --name $(SAE) --depth 2 --seeds 0 \
		--tokens 50k --n-shuffles 5
	OMP_NUM_THREADS=1 $(BIN)/python scripts/attributes.py --model resnet18 --checkpoint-path $(RUN) --checkpoints $(ENDS) \
		--layers layer1 $(SAE_LAYER) --attributes colour --n-pairs 20 --n-images 64 --n-random 3 --workers 0 \
		--store $(STORE)
	$(BIN)/python scripts/visualize.py --model resnet18 --checkpoint-path $(RUN) --checkpoints $(SOME) \
		--layers $(SAE_LAYER) --latents $(SAE) 0 1 2 3 4 5 6 7 --max-iterations 64 --store $(STORE)
	$(BIN)/python scripts/visualize.py --model $(DIGIT_NET) --checkpoint-path $(DIGIT_RUN) \
		--layers hidden1 hidden2 logits --max-iterations 96 --store $(DIGIT_STORE)
	$(BIN)/python scripts/llc.py estimate --model $(DIGIT_NET) --checkpoint-path $(DIGIT_RUN) \
		--epsilon 1e-4 --gamma 200 600 --nbeta n --batch-size 256 --draws auto --burn-in 100 \
		--n-curvature-iterations 10 --store $(DIGIT_STORE)
	$(BIN)/python scripts/influence.py --model resnet18 --checkpoint-path $(RUN) --layers $(STAGES) \
		--dataset shapes --split train --n-images 32 --name shapes --store $(STORE)
	$(BIN)/python scripts/chimera.py --model resnet18 --checkpoint-path $(RUN) --layers layer1 layer2 layer3 \
		--to layer4 --dataset shapes --n-images 256 --name shapes --store $(STORE)
	$(BIN)/python scripts/circuit_film.py $(STORE) --model resnet18 --checkpoint-path $(RUN) \
		--responses shapes --max-iterations 64 --out demo/gallery/resnet18
	$(BIN)/python scripts/gallery.py $(STORE) --out demo/gallery/resnet18
	$(BIN)/python scripts/gallery.py $(DIGIT_STORE) --out demo/gallery/digit_net
	$(BIN)/dvis page $(STORE) $(PAGE) --overwrite
	$(BIN)/dvis assembly $(STORE) --responses shapes
	$(BIN)/python scripts/story.py demo/stores
	@echo
	@echo "Pictures: demo/gallery"
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

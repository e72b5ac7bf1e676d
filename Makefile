# The two commands of this project: `make demo [PHOTO=path]` and `make test`. Needed: Python 3.11, make and git.
# A virtual environment is made in .venv on the first run; later runs reuse it.

PYTHON ?= python3.11
PHOTO ?=
# The newest torch may exist only with gigabytes of CUDA: the pin takes a CPU build where pip knows of one.
TORCH ?= torch==2.13.0
# More arguments for pip, e.g. an index with CPU builds of torch.
PIP_ARGS ?=
# What a photo needs, and what the tests need beside it.
EXTRAS := blender,smplx,demo
TEST_EXTRAS := $(EXTRAS),bake,dev

VENV := .venv
PY := $(VENV)/bin/python
# Older Blenders that the tests run in as well, each in a small environment of its own beside the main one.
OLDER := 4.2 4.5
PIP := -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)
TYPES := $(VENV)/types
# One thread a process: with the libraries' own defaults, two busy processes slow each other down many times over.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types test-core test-blender $(OLDER:%=test-blender-%) bench models clean

help:
	@echo "make demo [PHOTO=path]  a photo to an avatar: out/NAME.npz, out/NAME.blend, out/NAME.png"
	@echo "make test               lint, types, all tests (bpy 5.0, 4.5 and 4.2)"
	@echo "make lint | types | test-core | test-blender | test-blender-4.5 | test-blender-4.2   a part of it"
	@echo "make format             let ruff format the code"
	@echo "make bench              speed, against smplx"
	@echo "make clean              remove the virtual environments, caches and out/"

demo: $(VENV)/.usable
	@$(PY) -m pantomime demo -o out $(if $(PHOTO),"$(PHOTO)")

test: lint types test-core test-blender $(OLDER:%=test-blender-%)

lint: $(VENV)/.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/.installed
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(VENV)/.installed
	MYPYPATH=$(TYPES) $(PY) -m mypy -p pantomime

test-core: $(VENV)/.installed models
	$(PY) -m pytest -q tests/core

test-blender: $(VENV)/.installed models
	$(PY) -m pytest -q tests/blender

$(OLDER:%=test-blender-%): test-blender-4.%: .venv-bpy4%/.installed models
	.venv-bpy4$*/bin/python -m pytest -q tests/blender -p no:cacheprovider

bench: $(VENV)/.installed models
	$(PY) -m pantomime bench speed

models: $(VENV)/.usable
	@$(PY) -m pantomime models

$(VENV)/.usable: pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 with its venv module is needed, and '$(PYTHON)' is not that. Install it:"; \
	  echo "  Debian, Ubuntu: apt install python3.11 python3.11-venv    Fedora: dnf install python3.11"; \
	  echo "  macOS: brew install python@3.11    any system: uv python install 3.11 or pyenv install 3.11"; \
	  echo "then run make again, with PYTHON=/path/to/python3.11 if it is not on the PATH."; exit 1; }
	@test -x $(PY) || { echo "Making a virtual environment in $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing torch (about 200 MB for a CPU build) …"
	@$(PY) $(PIP) "$(TORCH)"
	@echo "Installing Blender as a module (about 370 MB), MediaPipe and what else a photo needs …"
	@$(PY) $(PIP) -e ".[$(EXTRAS)]" "$(TORCH)"
	@touch $@

$(VENV)/.installed: $(VENV)/.usable
	@echo "Installing the tools for tests, and for building the body …"
	@$(PY) $(PIP) -e ".[$(TEST_EXTRAS)]" "$(TORCH)"
	@mkdir -p $(TYPES) && ln -sfn ../.. $(TYPES)/pantomime
	@touch $@

# Only bpy differs from the main environment: all are Python 3.11, so everything else is read from there.
.venv-bpy4%/.installed: $(VENV)/.installed
	@test -x $(@D)/bin/python || { echo "Making a virtual environment for Blender 4.$* in $(@D) …"; \
	  $(PYTHON) -m venv --without-pip $(@D); }
	@site=$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  main=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  { test -d "$$site/bpy/4.$*" || { echo "Installing Blender 4.$* as a module (about 350 MB) …"; \
	    $(PY) $(PIP) --upgrade --no-deps --target "$$site" "bpy==4.$*.*"; }; } && \
	  echo "import site; site.addsitedir('$$main')" > "$$site/main_environment.pth"
	@touch $@

.PRECIOUS: .venv-bpy4%/.installed

clean:
	rm -rf $(VENV) .venv-bpy4? out dist build .mypy_cache .ruff_cache .pytest_cache

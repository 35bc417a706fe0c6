# Thin: every chore is `cargo xtask CHORE`; see CONTRIBUTING.md. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test soak verify bench lint docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing for all of these (also done by the others, each for itself)
	@scripts/setup.sh tests

demo: ## build, then run the digits pipeline through a kill -9 and a restore
	@scripts/setup.sh
	@. scripts/env.sh && cargo build --workspace --bins
	@. scripts/env.sh && "$$FOREBAY_CACHE/venv/bin/python" examples/digits/demo.py

test: ## everything that CI runs
	@. scripts/env.sh && cargo xtask ci

soak: ## the simulation at length: 100,000 seeds, and every planted bug from three first seeds (about an hour)
	@. scripts/env.sh && scripts/soak.sh

verify: ## model checks of the pure cores at their large bound (tens of minutes)
	@. scripts/env.sh && scripts/verify.sh

bench: ## run benchmarks/*/run.py
	@. scripts/env.sh && cargo xtask bench

lint: ## formats, types, tidy, licences, clippy
	@. scripts/env.sh && cargo xtask lint

docs: ## build the site and the API pages, check links
	@. scripts/env.sh && cargo xtask docs

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check images bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## Python environment, engine and sandbox images, on a fresh machine too
	@scripts/setup

demo: ## A scripted agent at work in a real sandbox, no key needed
	@scripts/setup --embedded-ok
	@.venv/bin/bulkhead demo

up: ## Set up and serve in the foreground
	@scripts/up

test: ## Every suite, with one table at the end
	@scripts/test

check: ## Format, lint, types, layers and fast tests, under a minute
	@scripts/check

images: ## Build all images, the full one and the gateway's too
	@scripts/setup
	@.venv/bin/bulkhead images build base python full gateway

bench: ## Measure this machine and print paired ratios
	@scripts/setup
	@benchmarks/run

lock: ## Pin the newest allowed versions, with hashes
	@scripts/python-env
	@scripts/python-env-lock

clean: ## Remove what the targets above made inside this directory
	rm -rf .venv .bulkhead .mypy_cache .ruff_cache .import_linter_cache .pytest_cache build dist

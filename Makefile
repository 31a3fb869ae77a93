# Every command of the repository. `make help` lists them; docs/LOCAL.md explains the local target.
SHELL := bash
.DEFAULT_GOAL := help
# tsx would keep a cache in the system's folder for temporary files; our programs are small enough without
export TSX_DISABLE_CACHE := 1
export CHECKPOINT_DISABLE := 1

PLATFORM := node_modules/.bin/tsx local/cli.ts
INSTALLED := node_modules/.package-lock.json

.PHONY: help up plan down status logs env synth lint format test test-unit test-local test-apps bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{gsub(/\$$\$$/, "$$"); printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS=… is passed on: make down ARGS=--discard, make logs ARGS=-f, make up ARGS=--help"

$(INSTALLED): package-lock.json package.json
	@command -v npm >/dev/null || { echo "error:  npm is not on PATH"; echo "next:   install Node.js 20.12 or later: https://nodejs.org/"; exit 69; } >&2
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

up: $(INSTALLED) ## deploy the platform to the local AWS emulator (again: changes nothing)
	@$(PLATFORM) up $(ARGS)

plan: $(INSTALLED) ## exit 0 only if no stack would change; 2 when changes are pending
	@$(PLATFORM) plan $(ARGS)

down: $(INSTALLED) ## destroy the stacks, stop the emulator, leave nothing
	@$(PLATFORM) down $(ARGS)

status: $(INSTALLED) ## what runs, what is applied, which tools are used
	@$(PLATFORM) status $(ARGS)

logs: $(INSTALLED) ## the emulator's log
	@$(PLATFORM) logs $(ARGS)

env: $(INSTALLED) ## shell exports for tofu, cdktf, aws by hand: eval "$$(make -s env)"
	@$(PLATFORM) env $(ARGS)

synth: $(INSTALLED) ## write the stacks of PLATFORM_ENV (default local) to cdktf.out
	@node scripts/synth.cjs $(ARGS)

lint: $(INSTALLED) ## formatter, linter, layout rules
	@npm run --silent lint

format: $(INSTALLED) ## format and fix what can be fixed
	@npm run --silent format

test: $(INSTALLED) ## all tests, the local apply included; ends with N passed, N failed, N skipped
	@node scripts/test.mjs $(ARGS)

test-unit: $(INSTALLED) ## what needs no server
	@node_modules/.bin/jest $(ARGS)

test-local: $(INSTALLED) ## apply the stacks to an emulator of its own, and break things
	@node_modules/.bin/jest --config test/local/jest.config.cjs --runInBand $(ARGS)

test-apps: ## the tests of apps/
	@if [ -f apps/Makefile ]; then $(MAKE) -C apps test; else echo "apps/ has no tests yet"; fi

bench: $(INSTALLED) ## time and memory of synth, type check and unit tests
	@node scripts/bench.mjs $(ARGS)

clean: ## remove what was built; `make down` first, it refuses while the local target is up
	@if [ -e .local/aws ] || [ -e .local/state ]; then echo "error:  the local target is (partly) up"; echo "next:   make down, or make down ARGS=--discard"; exit 1; fi >&2
	rm -rf .local cdktf.out dist coverage

# Everything one does with Gozon. Needs python3 (3.11 or newer), make and git; the rest is installed into .venv.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
MAKEFLAGS += --no-builtin-rules --no-print-directory
# A stack is a dozen Python processes: where this is set, each compiles all it imports, which doubles the cost of a start.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
GOZON := $(BIN)/gozon
# What make installs is what uv.lock says, with the Python found here.
UV := UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV= $(BIN)/uv
SOURCES := kit services workers stack tests tools

.PHONY: help up down status logs demo seed worker check doctor reset test lint format gen gen-check clients migrate restart bench bench-cache bench-popular bench-push load-million chaos drill web clean

help: ## List the targets
	@echo 'make up starts Gozon; make demo shows it at work. Words after ARGS= go to the command: make test ARGS="-k ledger".'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Running it

# Who has no way to npm's packages has no page; all else works without it.
up: .venv/.stack ## Install what is missing, start everything, wait until it is ready
	@$(MAKE) web || echo 'The page is not built: / says how to, or shows an older one. All else starts.'
	@$(GOZON) up $(ARGS)

down: .venv/.stack ## Stop everything; the data stays
	@$(GOZON) down $(ARGS)

status: .venv/.stack ## Show what runs
	@$(GOZON) status $(ARGS)

logs: .venv/.stack ## Show the logs; ARGS="orders -f" follows those of Orders
	@$(GOZON) logs $(ARGS)

demo: .venv/.stack ## Orders, goods and payouts, paid, declined and canceled, as curl commands
	@$(GOZON) demo $(ARGS)

seed: .venv/.stack ## Add products to the shop; again it changes nothing
	@$(GOZON) seed $(ARGS)

worker: .venv/.stack ## One more worker in the foreground, of payouts or what ARGS= says: orders
	@$(GOZON) worker $(or $(ARGS),payouts)

check: .venv/.stack ## Prove that no order is lost and no money doubled
	@$(GOZON) check $(ARGS)

doctor: .venv/.stack ## Look whether this machine can run Gozon
	@$(GOZON) doctor $(ARGS)

reset: .venv/.stack ## Stop everything and delete the data, after a question
	@$(GOZON) reset $(ARGS)

migrate: .venv/.stack ## Bring the databases of the running stack up to date
	@$(GOZON) migrate $(ARGS)

restart: .venv/.stack ## Restart one process after another, so that new code runs; no outage with two instances of each
	@$(GOZON) restart $(ARGS)

web: .venv/.stack web/app/dist/.built ## Build the page, if a source of it changed
	@:

# --- Working on it

# All of them in two processes, each with a stack; what is chosen by hand in one, and so is all on a stack that is given.
# The page is built first; only where npm's packages can't be had do its tests look at none, and say so.
test: .venv/.dev ## Run the tests, on stacks of their own
	@if $(MAKE) -s web/app/node_modules/.installed; then $(MAKE) web; else echo 'The tests of the page are skipped.'; fi
	@$(BIN)/python -m pytest $(or $(ARGS),$(if $(GOZON_TEST_HOME)$(GOZON_TEST_EDGE),,--numprocesses 2))

lint: .venv/.dev ## Check style, types, layers and contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	@if $(MAKE) -s web/app/node_modules/.installed; then echo oxlint; $(WITH_BIN) npm --prefix web/app run --silent lint; \
		else echo 'The page is not looked at.'; fi
	$(BIN)/hadolint Dockerfile
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	@for branch in origin/main main; do \
		if git cat-file -e "$$branch:buf.yaml" 2>/dev/null; then \
			echo "$(BIN)/buf breaking --against $$branch"; \
			exec $(BIN)/buf breaking --against ".git#ref=$$branch"; \
		fi; \
	done

format: .venv/.dev ## Format code and contracts
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

# Messages for every contract, stubs where there is a service; google/* comes with googleapis-common-protos.
PROTOS = $(shell find protos third_party/buf -name '*.proto' | LC_ALL=C sort)
PROTOS_OF_SERVICES = $(shell grep -l '^service ' $(PROTOS))
WITH_BIN = PATH="$(CURDIR)/$(BIN):$$PATH"
PROTOC = $(WITH_BIN) $(BIN)/python -m grpc_tools.protoc -Iprotos -Ithird_party

COLLECTION := gozon.postman_collection.json
# Go is a wheel too; nothing else needs it.
GENERATOR := $(BIN)/protoc-gen-connect-openapi
OPENAPI_OPTIONS := path=generated.yaml,features=google.api.http;protovalidate,with-proto-names,with-streaming,short-service-tags,short-operation-ids

# Its caches are as large as all of .venv and go when it is built.
$(GENERATOR): tools/go.mod tools/go.sum | .venv/.dev
	@echo 'Building the generator of edge/openapi.yaml: two minutes, once'
	@$(UV) sync --frozen --inexact --group go
	@venv="$(CURDIR)/.venv" && cd tools && GOPATH="$$venv/.go" GOCACHE="$$venv/.go/cache" GOFLAGS=-modcacherw \
		GOTOOLCHAIN=local CGO_ENABLED=0 timeout 400 "$$venv/bin/go" build -trimpath -buildvcs=false \
		-ldflags '-s -w' -o ../$@ github.com/sudorandom/protoc-gen-connect-openapi; code=$$?; rm -rf "$$venv/.go"; exit $$code

# $(call openapi,FOLDER): writes FOLDER/openapi.yaml and the Postman collection beside it, after generate.
define openapi
	$(PROTOC) '--connect-openapi_opt=$(OPENAPI_OPTIONS)' --connect-openapi_out=$(1) $(PROTOS_OF_SERVICES)
	$(BIN)/python -m tools.openapi write $(1)
endef

# $(call generate,FOLDER): writes FOLDER/gen and FOLDER/gozon.binpb.
define generate
	@rm -rf $(1) && mkdir -p $(1)/gen
	$(PROTOC) --python_out=$(1)/gen --pyi_out=$(1)/gen $(PROTOS)
	$(PROTOC) --grpc_python_out=$(1)/gen --mypy_grpc_out=$(1)/gen $(PROTOS_OF_SERVICES)
	$(BIN)/buf build --exclude-source-info -o $(1)/gozon.binpb
endef

gen: .venv/.dev $(GENERATOR) ## Regenerate gen/, edge/gozon.binpb, edge/openapi.yaml and the Postman collection
	$(call generate,.gen.new)
	$(call openapi,.gen.new)
	@rm -rf gen/gozon gen/buf && mv .gen.new/gen/* gen/ && mv .gen.new/gozon.binpb .gen.new/openapi.yaml edge/ \
		&& mv .gen.new/$(COLLECTION) docs/ && rm -rf .gen.new

# The checksum in edge/openapi.yaml is over all it is made from and itself, so that nobody who checks needs Go.
gen-check: .venv/.dev ## Fail when what `make gen` writes is not what it would write now
	$(call generate,.gen.new)
	@diff -r -x __pycache__ .gen.new/gen gen && cmp .gen.new/gozon.binpb edge/gozon.binpb \
		&& $(BIN)/python -m tools.openapi verify || { rm -rf .gen.new; echo 'run make gen'; exit 1; }
	@rm -rf .gen.new

# A package for each language: what is committed in clients/, and what is generated beside it.
clients: .venv/.clients ## Make client packages for Python, TypeScript and Go in build/clients
	@rm -rf build/clients && mkdir -p build && cp -R clients build/clients
	@cp -R gen/buf gen/gozon build/clients/python
	@find build/clients/python -name __pycache__ -prune -exec rm -rf {} +
	@touch build/clients/python/buf/py.typed build/clients/python/gozon/py.typed
	$(UV) build --quiet build/clients/python
	$(WITH_BIN) npm --prefix build/clients/typescript ci --ignore-scripts
	$(WITH_BIN) buf generate --template clients/typescript/buf.gen.yaml
	$(WITH_BIN) npm pack --silent --pack-destination build/clients/typescript ./build/clients/typescript >/dev/null
	$(WITH_BIN) buf generate --template clients/go/buf.gen.yaml
	$(WITH_BIN) go build -C build/clients/go ./...
	@echo 'In build/clients: python/dist/*.whl, typescript/*.tgz, and the Go module go/. How to use them: docs/clients.md'

bench: .venv/.dev ## Measure orders, purchases and inventories per second and latency beside pgbench
	@$(BIN)/python -m tests.bench $(ARGS)

bench-cache: .venv/.dev ## Measure reads of inventories while Valkey answers, is dead and is frozen
	@$(BIN)/python -m tests.bench.outage $(ARGS)

bench-popular: .venv/.dev ## Measure popular products with a million purchases in the last week; takes minutes
	@$(BIN)/python -m tests.bench.popular $(ARGS)

bench-push: .venv/.dev ## Measure 2,000 WebSockets while 200 orders a second settle: all heard, in order, how soon, at what cost
	@$(BIN)/python -m tests.bench.push $(ARGS)

load-million: .venv/.dev ## Load a million orders and measure reads, plans and the check with them; takes minutes
	@$(BIN)/python -m tests.bench.million $(ARGS)

chaos: .venv/.dev ## Kill each process and wipe NATS and the broker under load, then check; SEED=n repeats a run
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ARGS)

drill: .venv/.dev ## Under load: ARGS=rolling, restore, schema, nats or postgres; fails when a request does or anything is lost
	@$(BIN)/python -m tests.drills $(ARGS)

clean: ## Stop everything and remove .venv and caches; the data in .gozon stays
	@if [ -x $(GOZON) ]; then $(GOZON) down; fi
	rm -rf .venv build web/app/dist web/app/node_modules .gen.new .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) gen -name __pycache__ -prune -exec rm -rf {} +

# --- Installing; the files are stamps, so that a second make does nothing

.venv/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'Gozon needs Python 3.11 or newer as $(PYTHON), found: '"$$($(PYTHON) --version 2>&1 | head -1)"; \
		echo 'Install one, or name another: make PYTHON=python3.12 …'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python can't make virtual environments: install python3-venv (Debian, Ubuntu) or its like."; exit 1; }
	@[ -x $(BIN)/uv ] || { echo 'Installing uv $(UV_VERSION) into .venv'; $(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@touch $@

.venv/.stack: .venv/.uv pyproject.toml uv.lock
	@echo 'Installing Gozon and its servers into .venv'
	@$(UV) sync --frozen --inexact --group stack
	@touch $@

.venv/.dev: .venv/.uv pyproject.toml uv.lock
	@echo 'Installing Gozon, its servers and the tools of its developers into .venv'
	@$(UV) sync --frozen --inexact --group dev
	@touch $@ .venv/.stack

# The page. Node.js comes as a wheel; packages are those of package-lock.json, whose scripts are not run.
WEB_SOURCES = $(shell find web/app -name node_modules -prune -o -name dist -prune -o -name schema.d.ts -prune -o -type f -print)

# Its own would be minutes.
NPM_PATIENCE = --fetch-timeout 60000 --fetch-retry-mintimeout 1000 --fetch-retry-maxtimeout 5000

web/app/node_modules/.installed: .venv/.uv web/app/package-lock.json | .venv/.stack
	@echo 'Installing what builds the page into web/app/node_modules'
	@$(WITH_BIN) npm --prefix web/app ci --ignore-scripts --no-audit --no-fund --loglevel=error $(NPM_PATIENCE) || { \
		echo "npm's registry can't be reached, or lacks something. Name another (npm_config_registry=https://…) or a proxy"; \
		echo '(https_proxy=http://…), and try make web. Gozon itself runs without the page: make up.'; exit 1; }
	@touch $@

web/app/dist/.built: web/app/node_modules/.installed edge/openapi.yaml $(WEB_SOURCES)
	@echo 'Building the page'
	@$(WITH_BIN) npm --prefix web/app run --silent build
	@touch $@

.venv/.clients: .venv/.dev
	@echo 'Installing Go and Node.js into .venv'
	@$(UV) sync --frozen --inexact --group clients
	@touch $@

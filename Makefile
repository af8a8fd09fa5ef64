SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# What the targets call comes from .venv; the machine's own commands come after.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup node lock proto check-proto release-proto fmt lint check-adr docs \
  test test-unit test-integration test-e2e test-power fuzz hostile openapi clients image-check k8s-check \
  trust-check ops-check fault-quick fault soak \
  mutants losses audit sbom check \
  up down status logs clean demo bench bench-quick

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the locked packages and the crown command into .venv
	@tools/setup.sh

node: setup
	@tools/node.sh

lock: setup ## Regenerate requirements/ from pyproject.toml (UPGRADE=1: newest versions)
	tools/lock.sh

proto: setup ## Regenerate code and the gateway's descriptor set from protos/
	tools/proto.sh

check-proto: setup ## Fail when the committed generated code is not what protos/ gives
	tools/proto.sh --check

release-proto: setup ## Make the present contract the one that later ones must not break
	buf build --exclude-source-info -o protos/released.binpb

fmt: setup ## Format and sort what can be
	ruff format .
	ruff check --fix .
	buf format -w --path protos/crown

lint: setup ## ruff, mypy --strict, buf lint, buf breaking against protos/released.binpb
	tools/lint.sh

check-adr: setup
	@python tools/adr.py

docs: setup ## The documents as a site in build/site, generated pages compared, every link checked
	@tools/docs.sh

test: setup node ## Every test against real servers, which it starts itself
	tools/test-all.sh

test-unit: setup ## Seconds, needs nothing
	tools/test.sh tests/unit

test-integration: setup node ## Against real NATS, MongoDB and Valkey
	tools/test.sh tests/integration

test-e2e: setup node ## The whole suite through the gateway
	tools/test.sh tests/e2e

test-power: setup ## Power loss; needs root for a file system of its own
	tools/test.sh tests/fault/power

fault-quick: setup ## The faults that happen most, under load; within four minutes, needs root
	tools/fault.sh quick

soak: setup ## Load for MINUTES (30), callers that give up, sockets that come and go: nothing grows
	tools/test.sh tests/fault/test_soak.py -- --soak-s $$(( 60 * $(or $(MINUTES),30) ))

fault: setup ## Every fault in a run of its own, and the table of them; about 45 minutes, needs root
	tools/fault.sh all

clients: setup ## Build the five neighbours of examples/ and run each against the suite
	@tools/clients.sh

image-check: setup ## Dockerfile, compose.yaml and wheel, and what the image runs, without an engine
	@tools/image_check.sh

k8s-check: setup ## The manifests: rendered, by schema and policy, and each container run as it is written
	@tools/k8s_check.sh

trust-check: setup ## Who may do what, hostile input, and TLS between the parts, against the whole suite
	tools/trust.sh

ops-check: setup ## Alert rules, dashboards, and the recipes with grpcurl
	@tools/ops_check.sh

fuzz: setup ## Our own parsers under inputs that are guided by what they reach, ten seconds each
	tools/fuzz.sh

mutants: setup node ## Apply each small wrong change to a copy, and see which test catches it
	python -m tools.mutants --publish
	python -m tools.reliability_page

hostile: setup ## Thousands of hostile inputs for each surface of a suite, counted into docs/figures
	.venv/bin/python -m pytest tests/trust/test_hostile*.py -o timeout=1800 --inputs 5000
	.venv/bin/python -m tools.reliability_page

openapi: setup node ## Every call of the OpenAPI document under many made-up inputs; the count goes to docs/reliability.md
	OPENAPI_EXAMPLES=8 tools/test.sh tests/trust/test_openapi.py
	python -m tools.reliability_page

losses: setup ## What a crash of a worker costs by policy, one table
	python -m tests.fault.losses

audit: setup ## Ask the advisory services about every locked package; needs a network
	@tools/audit.sh

sbom: setup ## What the image is made of, as CycloneDX in build/sbom.cdx.json
	@tools/sbom.sh

check: lint check-proto check-adr test docs clients trust-check image-check k8s-check ops-check fault-quick test-power ## What CI runs

up: setup ## Start the suite in the background
	@crown up

down: setup ## Stop it; its data stay
	@crown down

status: setup ## What runs where
	@crown status || [ $$? -eq 3 ]

logs: setup ## The last lines of every process
	@crown logs

clean: setup ## Stop it and delete its data
	@crown clean

demo: setup ## One notification on every channel, and where each arrived
	@crown demo

bench: setup ## Every figure beside its limit, one table
	python -m bench

bench-quick: setup ## The same in two minutes
	python -m bench --quick

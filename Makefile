# Baadal. `make` shows what there is to do.
SHELL := /bin/sh
BIN := bin/baadal
GOFLAGS_STATIC := CGO_ENABLED=0
# What the tests need beyond the lab: a C compiler for the race detector, a
# PostgreSQL of their own, virt-install to measure against, and a browser.
TEST_PACKAGES := gcc libc6-dev procps postgresql virtinst usb.ids pci.ids osinfo-db chromium fonts-dejavu-core
LINT_VERSION := v2.15.0

.DEFAULT_GOAL := help
.PHONY: help demo test build web node lint bench openapi check e2e packages test-packages clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: packages ## build a small cloud on this machine, create VMs, show them; Ctrl-C ends it (DEMO=once: by itself)
	@$(BIN) demo

test: test-packages ## everything: vet, units with the race detector on both databases, real daemons, end-to-end on the lab
	@scripts/test.sh

check: ## the inner loop: go test ./... (units, simulator, SQLite)
	go vet ./...
	go test ./...

e2e: test-packages ## only the end-to-end tests on the lab
	@scripts/test.sh e2e

bench: test-packages ## measure against virt-install and bare libvirt, side by side
	@scripts/bench.sh

build: ## build bin/baadal, one static file, with the browser's pages if Node.js is there
	@scripts/web.sh
	@$(GOFLAGS_STATIC) go build -trimpath -o $(BIN) ./cmd/baadal

web: node ## build the browser's pages and test what they do
	@scripts/web.sh test

openapi: ## write api/openapi.yaml anew from the routes
	go test ./internal/server -run TestSpecIsGolden -update

lint: ## run the linter
	@command -v golangci-lint > /dev/null || go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@PATH="$$PATH:$$(go env GOPATH)/bin" golangci-lint run ./...

node:
	@scripts/node.sh

packages: node
	@$(MAKE) --no-print-directory build
	@scripts/packages.sh $$($(BIN) lab packages)

test-packages: web
	@$(MAKE) --no-print-directory build
	@scripts/packages.sh $$($(BIN) lab packages) $(TEST_PACKAGES)

clean: ## remove what was built
	rm -rf bin web/dist/pages web/node_modules web/.test

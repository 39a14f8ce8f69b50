#!/bin/sh
# Runs every test with nothing skipped: a missing daemon is a failure here.
#   scripts/test.sh        everything
#   scripts/test.sh e2e    only the end-to-end tests
set -eu
cd "$(dirname "$0")/.."
export BAADAL_TEST_DISALLOW_SKIP=1 BAADAL_TEST_POSTGRES=1
export BAADAL_TEST_BINARY="$PWD/bin/baadal"
begun=$(date +%s)
took() { echo "== $1: $(($(date +%s) - begun)) s since the start"; }

if [ "${1:-all}" = all ]; then
	go vet ./...
	took "go vet"
	scripts/web.sh test
	took "the browser's pages, built and tested"
	# -p 2: packages with daemons of their own would starve each other otherwise.
	# The suites that kill each operation everywhere, and race each two, take a
	# sample here, and everything below, without the detector.
	CGO_ENABLED=1 go test -race -p 2 -timeout 20m ./...
	took "units, simulator, both databases and real daemons, with the race detector"
	BAADAL_TEST_ALL=1 go test -p 1 -count=1 -timeout 20m ./internal/workflow ./internal/proof
	took "every operation, killed and failed at every point, each two raced, in long sequences"
fi
# One package after the other: each lab wants the whole machine.
BAADAL_TEST_LAB=1 go test -p 1 -count=1 -timeout 60m ./internal/lab ./e2e
took "the lab and the end-to-end tests"

#!/bin/sh
# Runs every test with nothing skipped: a missing daemon is a failure here.
#   scripts/test.sh        everything
#   scripts/test.sh e2e    only the end-to-end tests
# A test that fails is tried once more by itself; one that then passes is named
# at the end (docs/decisions/0117). What the detector calls a race is not.
set -eu
cd "$(dirname "$0")/.."
export BAADAL_TEST_DISALLOW_SKIP=1 BAADAL_TEST_POSTGRES=1
export BAADAL_TEST_BINARY="$PWD/bin/baadal"
gotestsum=gotest.tools/gotestsum@v1.13.0
begun=$(date +%s)
took() { echo "== $1: $(($(date +%s) - begun)) s since the start"; }

# tests PHASE PACKAGES FLAGS... runs the tests of packages with flags of go test.
tests() {
	phase=$1 packages=$2
	shift 2
	go run $gotestsum --no-color --format pkgname-and-test-fails --hide-summary skipped --jsonfile "bin/test-$phase.json" \
		--rerun-fails=1 --rerun-fails-max-failures=5 --rerun-fails-abort-on-data-race --rerun-fails-report "bin/test-$phase.again" \
		--packages "$packages" -- "$@"
}

mkdir -p bin
rm -f bin/test-*
if [ "${1:-all}" = all ]; then
	go vet ./...
	took "go vet"
	scripts/web.sh test
	took "the browser's pages, built and tested"
	# -p 2: packages with daemons of their own would starve each other otherwise.
	# The suites that kill each operation everywhere, and race each two, take a
	# sample here, and everything below, without the detector.
	# SQLite is C that a program made Go of: the detector finds nothing of ours
	# there, and half of its time goes into it. And each program that it watches
	# would sleep for a second at its end.
	(export CGO_ENABLED=1 GORACE=atexit_sleep_ms=50; tests race ./... -race -gcflags='modernc.org/...=-race=false -d=checkptr=0' -p 2 -timeout 20m)
	took "units, simulator, both databases and real daemons, with the race detector"
	(export BAADAL_TEST_ALL=1; tests all "./internal/workflow ./internal/proof" -p 1 -count=1 -timeout 20m)
	took "every operation, killed and failed at every point, each two raced, in long sequences"
fi
# One package after the other: each lab wants the whole machine.
(export BAADAL_TEST_LAB=1; tests lab "./internal/lab ./e2e" -p 1 -count=1 -timeout 60m)
took "the lab and the end-to-end tests"
for again in bin/test-*.again; do
	[ ! -s "$again" ] || sed 's/^/== passed only when tried again: /' "$again"
done

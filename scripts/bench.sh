#!/bin/sh
# Prints what is measured, side by side with what a user would use instead.
set -eu
cd "$(dirname "$0")/.."
export BAADAL_TEST_BINARY="$PWD/bin/baadal"
BAADAL_BENCH=1 BAADAL_TEST_LAB=1 go test -count=1 -timeout 20m -run '^TestBench$' -v ./e2e
echo "In process, without hosts:"
go test -run '^$' -bench 'AcceptedToFirstStep' -benchtime 500x ./internal/task
go test -run '^$' -bench 'VMs' -benchtime 20x ./internal/store

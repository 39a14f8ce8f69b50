#!/bin/sh
# Installs Node.js and npm from Debian, which build the browser's pages, where
# they are not there already, from wherever: another nodejs on this machine stays.
set -eu
cd "$(dirname "$0")/.."
if ! command -v node > /dev/null; then
	scripts/packages.sh nodejs
fi
if ! command -v npm > /dev/null; then
	scripts/packages.sh npm
fi

#!/bin/sh
# Builds the browser's pages into web/dist/pages, from where they are embedded, if
# anything of them is newer than what is there.
#   scripts/web.sh         says so and goes on if there is no Node.js
#   scripts/web.sh must    fails then
#   scripts/web.sh test    builds, and runs the tests of what they do
set -eu
cd "$(dirname "$0")/../web"
built=dist/pages/console.html
why=
if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
	why="Node.js or npm is not there (apt-get install nodejs npm)"
elif [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then
	why="Node.js $(node --version) is too old, 18 is needed"
fi
if [ -n "$why" ]; then
	echo "the browser's pages are not built: $why" >&2
	[ "${1:-}" = "" ] || exit 1
	echo "everything else works; what is served in their place says so" >&2
	exit 0
fi
fail() {
	rm -f "$built"
	echo "the browser's pages could not be built; go build -o bin/baadal ./cmd/baadal builds without them" >&2
	exit 1
}
# What is installed is what this copy of the lock file says.
installed=node_modules/.installed.json
if ! cmp -s package-lock.json "$installed"; then
	npm ci --no-audit --no-fund --ignore-scripts --prefer-offline --loglevel=error || fail
	cp package-lock.json "$installed"
fi
if [ ! -e "$built" ] || [ -n "$(find src console.html vite.config.ts tsconfig.json package.json package-lock.json -newer "$built" -print | head -n 1)" ]; then
	npm run --silent build || fail
	touch "$built"
fi
if [ "${1:-}" = test ]; then
	npm test --silent
fi

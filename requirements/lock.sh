#!/bin/sh
# Write the lock files from the bounds in pyproject.toml: `make lock`.
#
# Each file is universal: one file serves Python 3.11 to 3.13 through its markers. The smaller ones
# take their versions from dev.txt, so that all of them agree. Versions that still fit stay; with
# --upgrade everything becomes the newest that fits.
set -eu
cd "$(dirname "$0")/.."

lock() { # lock NAME EXTRAS [OPTION...]: write requirements/NAME.txt
  name=$1 extras=$2
  shift 2
  for extra in $extras; do set -- "$@" --extra "$extra"; done
  uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
    --no-annotate --custom-compile-command 'make lock' "$@" \
    --output-file "requirements/$name.txt" pyproject.toml requirements/build.in
}

lock dev dev "$@"
lock test test --constraints requirements/dev.txt
lock demo 'read plot' --constraints requirements/dev.txt
lock service hk --constraints requirements/dev.txt

#!/bin/sh
# Install panoseti-zarr with the locked versions of one of the sets beside this file:
#
#   requirements/install.sh PYTHON VENV SET [--editable]
#
# VENV is made where it is missing. It needs Python with its venv module, and an index of packages
# as pip is configured to find it; each file that pip takes must have a hash of the lock.
set -eu
cd "$(dirname "$0")/.."
python=$1 venv=$2 set=$3 editable=${4:-}

fail() {
  echo "error: $1" >&2
  exit 1
}

if [ ! -x "$venv/bin/python" ]; then
  command -v "$python" >/dev/null || fail "there is no $python here; choose another: make PYTHON=python3.12 ..."
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "$("$python" --version) cannot run panoseti-zarr, which needs 3.11 to 3.13; choose another: make PYTHON=python3.12 ..."
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; on Debian and Ubuntu: sudo apt install python3-venv"
fi
lock=requirements/$set.txt
n_packages=$(grep -c '^[a-z].*==' "$lock")
echo "Installing panoseti-zarr and up to $n_packages locked packages into $venv ..." >&2
began=$(date +%s)
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# The lock names every package, so that there is nothing to resolve. Python compiles what is
# imported; to compile everything in advance would take longer than the rest.
install() {
  "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps "$@" ||
    fail "the installation failed, see above. Run it again: what was downloaded is kept. Is the index of packages within reach?"
}
compile=--no-compile
[ -n "$editable" ] || compile=--compile
install "$compile" --require-hashes --requirement "$lock"
install "$compile" --no-build-isolation ${editable:+--editable} .
echo "Installed in $(($(date +%s) - began)) s." >&2

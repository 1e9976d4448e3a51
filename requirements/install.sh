#!/bin/sh
# Install panoseti-zarr with the locked versions of one of the sets beside this file:
#
#   requirements/install.sh PYTHON VENV SET [--editable]
#
# VENV is made where it is missing. Pip finds the packages as it is configured to, and accepts a
# file only if its hash is in the lock.
set -eu
cd "$(dirname "$0")/.."
python=$1 venv=$2 set=$3 editable=${4:-}

fail() {
  echo "error: $1" >&2
  exit 1
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

has_pip() { "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

# An environment that another user made cannot be changed; one that was copied or moved with its
# clone, or whose making was interrupted, is made again.
if [ -e "$venv" ]; then
  [ -w "$venv" ] || fail "$venv belongs to another user; choose another: make VENV=.venv-mine ..."
  clone=$(cat "$venv/.clone" 2>/dev/null || true)
  if ! has_pip || { [ -n "$clone" ] && [ "$clone" != "$(pwd -P)" ]; }; then
    [ ! -e "$venv/pyvenv.cfg" ] || rm -rf "$venv"
  fi
fi
if [ ! -x "$venv/bin/python" ]; then
  version=$(version_of "$python") ||
    fail "$python does not run here; choose another: make PYTHON=python3.12 ..."
  case $version in
  3.11 | 3.12 | 3.13) ;;
  *) fail "Python $version cannot run panoseti-zarr, which needs 3.11 to 3.13; choose another: make PYTHON=python3.12 ..." ;;
  esac
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; on Debian and Ubuntu: sudo apt install python3-venv"
elif version=$(version_of "$python") && [ "$version" != "$(version_of "$venv/bin/python")" ]; then
  fail "$venv has Python $(version_of "$venv/bin/python"), not $version; remove it to make it again: rm -r $venv"
fi

lock=requirements/$set.txt
echo "Installing panoseti-zarr and up to $(grep -c '^[a-z].*==' "$lock") locked packages into $venv ..." >&2
began=$(date +%s)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# An installed program is for all users, whatever the umask of who installs it.
[ -n "$editable" ] || umask 022
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
if [ -n "$editable" ]; then
  # Python compiles what is imported; to compile everything in advance takes longer than the rest.
  set -- --no-compile --editable .
  pwd -P >"$venv/.clone"
else
  # Built from a copy: setuptools leaves files in the place where it builds, and would pack them
  # again the next time.
  cp -r daemon panoseti_zarr systemd pyproject.toml README.md LICENSE config.toml "$work"
  set -- --compile "$work"
fi
# The lock names every package, so there is nothing to resolve.
install() {
  "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps "$@" ||
    fail "the installation failed, see above. Run it again: what was downloaded is kept. Is the index of packages within reach?"
}
install "$1" --require-hashes --requirement "$lock"
install --no-build-isolation "$@"
"$venv/bin/python" -m pip --disable-pip-version-check check >"$work/check" 2>&1 ||
  fail "$(head -n 1 "$work/check"). Do the lock files lack a dependency of pyproject.toml? make lock"
echo "Installed in $(($(date +%s) - began)) s." >&2

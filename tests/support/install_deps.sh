#!/bin/sh
# Install the Debian packages that some tests use: `make test-deps`, as root on Debian or Ubuntu.
set -eu
cd "$(dirname "$0")"
packages="$(python3 needs.py) fonts-dejavu-core ca-certificates"
# Ubuntu's chromium is a snap, which does not run headless in a container.
if ! (. /etc/os-release && [ "$ID" = debian ]); then
  packages=$(echo "$packages" | tr ' ' '\n' | grep -v '^chromium' | tr '\n' ' ')
  echo 'No chromium for Ubuntu: the tests in a browser are skipped.' >&2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word for each package
apt-get install -y -qq --no-install-recommends $packages >/dev/null

#!/bin/sh
# The tests of the pages look at them in Debian's Chromium. Installs it where that can be done, else says how.
set -eu

command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing a browser for the tests: apt-get install chromium"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "The tests need chromium, which is not there. As root: apt-get install chromium" >&2
exit 1

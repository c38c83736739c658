#!/bin/sh
# need.sh FILE PACKAGE: the tests start real programs of Debian's. Installs the package where that can be done if no such file
# is there, else says how.
set -eu

file=$1 package=$2
# The file may be a pattern.
# shellcheck disable=SC2086
ls $file >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing for the tests: apt-get install $package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    exit 0
fi
echo "The tests need $package, which is not there. As root: apt-get install $package" >&2
exit 1

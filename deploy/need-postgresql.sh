#!/bin/sh
# The tests start a PostgreSQL of their own from Debian's packages. Installs them where that can be done, else says how.
set -eu

ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing PostgreSQL for the tests: apt-get install postgresql"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends postgresql >/dev/null
    exit 0
fi
echo "The tests need PostgreSQL, which is not there. As root: apt-get install postgresql" >&2
exit 1

#!/bin/sh
# Makes the virtual environment, also on a Debian whose Python came without the module for it.
set -eu
python="$1"
venv="$2"

if ! command -v "$python" >/dev/null 2>&1 || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed: install it (apt-get install python3), or name it: make PYTHON=/path/to/python3 …" >&2
    exit 1
fi

if "$python" -m venv "$venv" >/dev/null 2>&1; then
    exit 0
fi
rm -rf "$venv"

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing python3-venv, which this Debian lacks …" >&2
    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    "$python" -m venv "$venv"
else
    echo "This Python cannot make virtual environments. Run once: sudo apt-get install python3-venv" >&2
    exit 1
fi

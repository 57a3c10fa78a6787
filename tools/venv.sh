#!/bin/sh
# Make a virtual environment with bpflens and what its tests need: venv.sh PYTHON DIRECTORY
set -eu
python=$1 venv=$2

if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    # Debian keeps ensurepip in a package of its own.
    rm -rf "$venv"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
        "$python" -m venv "$venv"
    else
        echo "$python cannot make a virtual environment: install python$version-venv" >&2
        exit 1
    fi
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[completion]' --group dev
# Where Python is told not to write byte code (PYTHONDONTWRITEBYTECODE), every start would compile.
"$venv/bin/python" -m compileall -q src

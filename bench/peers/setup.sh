#!/bin/sh
# Makes an environment of its own for each peer, in bench/.venvs. Needs python3 with venv, and a package index.
set -eu
cd "$(dirname "$0")"
for peer in fastapi_sqlalchemy eventsourcing prefect sdks; do
    home="../.venvs/$peer"
    if [ -e "$home/.ready" ] && [ ! "$peer/requirements.txt" -nt "$home/.ready" ]; then
        continue
    fi
    "${PYTHON:-python3}" -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$peer/requirements.txt"
    touch "$home/.ready"
done

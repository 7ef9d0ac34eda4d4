#!/usr/bin/env bash
# A plain consumer: one statement a record, each a transaction of its own. Takes the options of `sluicegate consume`.
set -euo pipefail
sluicegate consume trades.clean "$@" |
    sed -u "s/'/''/g; s/.*/CALL keep('&');/" |
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1

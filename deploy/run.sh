#!/usr/bin/env bash
# Web and worker together on one machine, until Ctrl-C, SIGTERM, or the death of either; then both stop cleanly.
set -u
cd "$(dirname "$0")/.."
bin=${VIRTUAL_ENV:-.venv}/bin

"$bin/gunicorn" --config deploy/gunicorn.conf.py config.wsgi &
web=$!
"$bin/python" manage.py qcluster &
worker=$!

stop() { kill -TERM "$web" "$worker" 2>/dev/null; }
asked=0
trap 'asked=1; stop' INT TERM
wait -n "$web" "$worker"
stop
# A signal ends a wait early, so wait until nothing is left to wait for.
while kill -0 "$web" 2>/dev/null || kill -0 "$worker" 2>/dev/null; do wait "$web" "$worker"; done
[ "$asked" = 1 ] || { echo "Web or worker ended unexpectedly; see above." >&2; exit 1; }

#!/usr/bin/env bash
# Web and worker together on one machine, until Ctrl-C, SIGTERM, or the death of either; then both stop cleanly.
set -u
# Job control gives each its own process group: a terminal's Ctrl-C reaches this script only, which passes it on, once.
# django-q2 deadlocks when a second signal arrives while it handles the first.
set -m
cd "$(dirname "$0")/.." || exit
bin=${VIRTUAL_ENV:-.venv}/bin

# Large pictures go back to the system when they are done with: glibc would raise this limit, keep them, and grow.
export MALLOC_MMAP_THRESHOLD_=1000000 MALLOC_ARENA_MAX=2

# What web and workers count for /metrics is counted together, in memory, and from nothing at each start.
memory=/dev/shm
[ -w "$memory" ] || memory=${TMPDIR:-/tmp}
# Who was killed could not take its folder away.
for old in "$memory"/metrics-[0-9]*-*; do
    owner=${old##*/metrics-}
    [ -O "$old" ] && ! kill -0 "${owner%%-*}" 2>/dev/null && rm -rf "$old"
done
PROMETHEUS_MULTIPROC_DIR=$(mktemp -d "$memory/metrics-$$-XXXXXX") || exit 1
export PROMETHEUS_MULTIPROC_DIR
trap 'rm -rf "$PROMETHEUS_MULTIPROC_DIR"' EXIT

"$bin/gunicorn" --config deploy/gunicorn.conf.py config.wsgi &
web=$!
# Classifying takes all it can get; people who click or upload come first.
nice -n 10 "$bin/python" manage.py qcluster &
worker=$!

asked=0
stop() {
    trap '' INT TERM HUP
    kill -TERM "$web" "$worker" 2>/dev/null
}
trap 'asked=1; stop' INT TERM HUP
wait -n "$web" "$worker"
stop
# Requests and images under way may be finished; whatever hangs is ended, and tried again after the next start.
for _ in $(seq $((150 + 5 * ${DRAIN_SECONDS:-0}))); do
    kill -0 "$web" 2>/dev/null || kill -0 "$worker" 2>/dev/null || break
    sleep 0.2
done
# The whole groups: a part that died may have left children behind.
kill -KILL -- "-$web" "-$worker" 2>/dev/null
wait
[ "$asked" = 1 ] || { echo "Web or worker ended unexpectedly; see above." >&2; exit 1; }

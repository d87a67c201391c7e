#!/usr/bin/env bash
# Runs these images on this host in place of those that run: deploy/release.sh WEB WORKER MIGRATE, each by digest.
# If they do not become healthy, those from before run again, and it exits 1. --rollback goes back one release.
set -euo pipefail
cd "$(dirname "$0")"
# .env may add files to it; without any word, compose would take compose.yaml, which is for development.
grep --quiet '^COMPOSE_FILE=' .env || export COMPOSE_FILE=compose.prod.yaml

run() {
    docker compose --env-file .env --env-file "$1" pull --quiet web worker migrate &&
        docker compose --env-file .env --env-file "$1" up --detach --no-build --wait --wait-timeout 300
}

if [ "$*" = --rollback ]; then
    run previous.env
    mv previous.env images.env
    exit
fi
[ $# = 3 ] || { echo "usage: release.sh WEB WORKER MIGRATE, or release.sh --rollback" >&2; exit 2; }
printf 'WEB_IMAGE=%s\nWORKER_IMAGE=%s\nMIGRATE_IMAGE=%s\n' "$@" > next.env
if ! run next.env; then
    echo "The new images do not run; going back to those from before." >&2
    [ ! -e images.env ] || run images.env
    exit 1
fi
[ ! -e images.env ] || mv images.env previous.env
mv next.env images.env

#!/usr/bin/env bash
# Runs these images on this host in place of those that run: deploy/release.sh WEB WORKER MIGRATE, each by digest.
# If they do not become healthy, those from before run again, and it exits 1. --rollback goes back one release.
#
# A release is four lines in .env, where every docker compose finds them: the images, and the commit of the compose files.
set -euo pipefail
cd "$(dirname "$0")"
names='^(WEB|WORKER|MIGRATE)_IMAGE=|^RELEASE_COMMIT='

# choose FILE: .env names the release in FILE; none if it is empty.
choose() {
    cp --preserve=mode .env next.env &&
        { grep --extended-regexp --invert-match "$names" .env && cat "$1"; } > next.env &&
        mv next.env .env
}

# run FILE: the release in FILE, with the compose files that it came with.
run() {
    local commit
    commit=$(sed --quiet 's/^RELEASE_COMMIT=//p' "$1")
    # Files that somebody has edited here are left alone: better these than no release.
    [ -z "$commit" ] || git checkout --quiet "$commit" || echo "The files stay those of $(git rev-parse HEAD)" >&2
    choose "$1" &&
        docker compose pull --quiet web worker migrate &&
        docker compose up --detach --no-build --wait --wait-timeout 300
}

# Read whole before it begins: the checkout replaces this file, too.
main() {
    # Without it, compose would take compose.yaml, which is for development.
    grep --quiet '^COMPOSE_FILE=' .env || { echo "deploy/.env lacks COMPOSE_FILE; see .env.example" >&2; exit 2; }
    if [ "$*" = --rollback ]; then
        run previous.env
        rm previous.env
        exit
    fi
    [ $# = 3 ] || { echo "usage: release.sh WEB WORKER MIGRATE, or release.sh --rollback" >&2; exit 2; }
    grep --extended-regexp "$names" .env > running.env || true
    printf 'WEB_IMAGE=%s\nWORKER_IMAGE=%s\nMIGRATE_IMAGE=%s\nRELEASE_COMMIT=%s\n' "$@" "$(git rev-parse HEAD)" > new.env
    if ! run new.env; then
        echo "The new images do not run; going back to those from before." >&2
        if [ -s running.env ]; then run running.env; else choose running.env; fi
        exit 1
    fi
    [ ! -s running.env ] || mv running.env previous.env
}
main "$@"
exit

#!/usr/bin/env bash
# Builds the images with Docker, or where no engine runs with buildah, and checks what they hold and how large they are.
# KERAS_HOME, if it holds the weights, saves downloading them.
set -euo pipefail
cd "$(dirname "$0")/.."

context=()
[ ! -d "${KERAS_HOME:-}/models" ] || context=(--build-context "weights=$KERAS_HOME")

if docker info >/dev/null 2>&1; then
    build() { docker build --file deploy/Dockerfile "${context[@]}" --target "$1" --tag "image-classification-$1" .; }
    megabytes() { docker image inspect --format '{{.Size}}' "image-classification-$1" | awk '{print int($1 / 1e6)}'; }
    inside() { docker run --rm --read-only --entrypoint python "image-classification-$1" -c "$2"; }
elif command -v buildah >/dev/null; then
    build() {
        buildah bud --isolation chroot --layers --format docker --file deploy/Dockerfile "${context[@]}" \
            --target "$1" --tag "localhost/image-classification-$1" .
    }
    # It has no other form than "408 MB" and "1.2 GB".
    megabytes() {
        buildah images --format '{{.Size}}' "localhost/image-classification-$1" |
            awk '{print int($2 == "GB" ? $1 * 1000 : $1)}'
    }
    inside() {
        local container
        container=$(buildah from "localhost/image-classification-$1")
        buildah run --isolation chroot "$container" -- python -c "$2" && buildah rm "$container" >/dev/null
    }
    deploy/base-image.sh
else
    echo "skipped  images: there is neither a Docker engine nor buildah"
    exit
fi

# image NAME LARGEST CODE: the code must run in it.
image() {
    local size log started=$SECONDS
    log=$(mktemp)
    build "$1" > "$log" 2>&1 || { tail -20 "$log"; echo "FAILED   $1 was not built"; exit 1; }
    rm "$log"
    size=$(megabytes "$1")
    [ "$size" -lt "$2" ] || { echo "FAILED   $1 has $size MB; $2 are too many"; exit 1; }
    inside "$1" "$3" || { echo "FAILED   $1 does not hold what it must"; exit 1; }
    echo "ok       image $1: $size MB, after $((SECONDS - started)) s"
}

absent="from importlib.util import find_spec as has; assert not any(map(has, ('tensorflow', 'keras', 'pytest')))"
image web 300 "$absent; assert not has('numpy'); import django, gunicorn, boto3; boto3.client('s3', 'eu-central-1')"
loads="from pathlib import Path; from classifier import bundle, runtime"
image worker 450 "$absent; $loads; assert runtime.Classifier(bundle.find(Path('/models'))[0]).labels"
image migrate 450 "$absent"

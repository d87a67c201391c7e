#!/usr/bin/env bash
# Where no registry can be reached: Debian with its own Python, laid out and named as the image that the Dockerfile starts
# from, for buildah. Needs root and debootstrap. Does nothing if that image can be had.
set -euo pipefail
name=docker.io/library/python:3.11-slim-bookworm
if buildah inspect --type image "$name" >/dev/null 2>&1 || buildah pull --quiet "$name" >/dev/null 2>&1; then exit; fi

root=$(mktemp --directory)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3.11,python3-pip,python3.11-venv bookworm "$root" \
    "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >/dev/null
ln -s /usr/bin/python3.11 "$root/usr/local/bin/python"
ln -s /usr/bin/pip3 "$root/usr/local/bin/pip"
# Installing, too, goes the way that this machine goes.
cp /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt "$root/tmp/"
mv "$root/tmp/resolv.conf" "$root/etc/" && mv "$root/tmp/ca-certificates.crt" "$root/etc/ssl/certs/"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\nbreak-system-packages = true\n' > "$root/etc/pip.conf"
rm -rf "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/{cache/apt,lib/apt/lists}/*
# Nor has the image any compiled modules: Debian's packages compile theirs where they can, 26 MB.
find "$root" -name __pycache__ -prune -exec rm -r {} +

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python "$container"
buildah commit --quiet --rm "$container" "$name" >/dev/null

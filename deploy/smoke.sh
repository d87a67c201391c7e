#!/usr/bin/env bash
# Uploads a picture to a service, waits for its label, and deletes it: deploy/smoke.sh URL PICTURE [options of curl]
set -euo pipefail
url=$1 picture=$2
shift 2
ask() { curl --silent --show-error --fail --max-time 20 "$@"; }

created=$(ask "$@" --form "file=@$picture" "$url/predictions/")
id=$(sed -E 's/^\{"id": ?([0-9]+).*/\1/' <<< "$created")
trap 'ask "$@" --request DELETE "$url/predictions/$id/" > /dev/null' EXIT
for _ in $(seq 120); do
    prediction=$(ask "$@" "$url/predictions/$id/")
    status=$(sed -E 's/.*"status": ?"([a-z]+)".*/\1/' <<< "$prediction")
    case $status in done | failed) break ;; esac
    sleep 0.5
done
echo "$prediction"
[ "$status" = "done" ]

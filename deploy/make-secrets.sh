#!/bin/sh
# Makes what the compose files of production keep in deploy/secrets, at random; what is there already stays.
set -eu
cd "$(dirname "$0")"
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Nobody else gets through the folder; the files themselves are read inside the containers, by their user 10001.
mkdir -p secrets
chmod 700 secrets
umask 022
for name in secret_key database_password metrics_token grafana_password; do
    [ -e "secrets/$name" ] || random > "secrets/$name"
done
[ -e secrets/database_url ] || printf 'postgres://classification:%s@db/classification' "$(cat secrets/database_password)" > secrets/database_url

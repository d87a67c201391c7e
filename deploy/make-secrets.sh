#!/bin/sh
# Makes what compose.prod.yaml keeps in deploy/secrets, at random; what is there already stays.
set -eu
cd "$(dirname "$0")"
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Nobody else gets through the folder; the files themselves are read inside the containers, by their user 10001.
mkdir -p secrets
chmod 700 secrets
umask 022
[ -e secrets/secret_key ] || random > secrets/secret_key
[ -e secrets/database_password ] || random > secrets/database_password
[ -e secrets/database_url ] || printf 'postgres://classification:%s@db/classification' "$(cat secrets/database_password)" > secrets/database_url

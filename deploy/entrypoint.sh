#!/bin/sh
# Every container's start: waits for the database, then becomes the command that it was given.
set -eu
python manage.py wait_for_database &
waiting=$!
# As process 1 a shell would ignore them, and be killed after the grace period.
trap 'kill "$waiting"; exit 143' TERM INT
wait "$waiting"
trap - TERM INT
exec "$@"

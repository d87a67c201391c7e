#!/bin/sh
# Once for each release, before its web and workers: the tables, and the row of the model which the image brings.
set -eu
python manage.py migrate --noinput
python manage.py install_model --check

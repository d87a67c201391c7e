#!/usr/bin/env bash
# Checks deploy/ and the workflows with every tool that is there, and says which are not. IMAGES=1 builds the images too.
# make verify-deploy installs those that PyPI has.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=0

# check TITLE COMMAND...: needs the command's first word.
check() {
    local title=$1 output
    shift
    if ! command -v "$1" >/dev/null; then
        echo "skipped  $title: there is no $1"
    elif output=$("$@" 2>&1); then
        echo "ok       $title"
    else
        echo "FAILED   $title: $*"
        echo "$output"
        failed=1
    fi
}

export SITE=photos.example.org
workflows=(.github/workflows/*.yml)
compose_files=(deploy/compose*.yaml)
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)

check "shell scripts" shellcheck "${scripts[@]}"
check "Dockerfile" hadolint deploy/Dockerfile
check "workflows, by their schema" check-jsonschema --builtin-schema vendor.github-workflows "${workflows[@]}"
check "workflows, for what they let others do" zizmor --offline --no-progress --quiet --persona pedantic "${workflows[@]}"
check "compose files, by their schema" check-jsonschema --builtin-schema vendor.compose-spec "${compose_files[@]}"
if docker compose version >/dev/null 2>&1; then
    check "compose.yaml" docker compose --file deploy/compose.yaml config --quiet
    check "compose.prod.yaml" docker compose --file deploy/compose.prod.yaml config --quiet
    check "compose.metrics.yaml, on top of it" docker compose --file deploy/compose.prod.yaml \
        --file deploy/compose.metrics.yaml config --quiet
else
    echo "skipped  compose files, as Docker reads them: there is no docker compose"
fi
check "alert rules" promtool check rules deploy/prometheus/rules.yml
check "alert rules, by their tests" promtool test rules deploy/prometheus/rules_test.yml
check "who is told of alerts" amtool check-config deploy/prometheus/alertmanager.yml
check "Caddyfile" caddy validate --config deploy/Caddyfile --adapter caddyfile
if [ -n "${IMAGES:-}" ]; then
    deploy/images.sh || failed=1
else
    echo "skipped  images: IMAGES=1 builds them"
fi
exit "$failed"

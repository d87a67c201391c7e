#!/usr/bin/env bash
# Runs a command once, beside the running service of a stack made of scaled.yaml, in the container of target migrate:
# deploy/aws/command.sh STACK [COMMAND...]. Without a command it migrates. Exits as the command did.
set -euo pipefail
stack=$1
shift
outputs=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs' --output json)
output() { jq --raw-output --arg key "$1" '.[] | select(.OutputKey == $key).OutputValue' <<< "$outputs"; }
cluster=$(output Cluster)
network=$(aws ecs describe-services --cluster "$cluster" --services "$(output WorkerService)" \
    --query 'services[0].networkConfiguration' --output json)
overrides=$(jq --null-input --compact-output '{containerOverrides:
    (if $ARGS.positional == [] then [] else [{name: "command", command: $ARGS.positional}] end)}' --args -- "$@")

task=$(aws ecs run-task --cluster "$cluster" --task-definition "$(output CommandTask)" --launch-type FARGATE \
    --network-configuration "$network" --overrides "$overrides" --query 'tasks[0].taskArn' --output text)
echo "$task; CommandLogs of $stack has its log" >&2
state() { aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0]' --output json; }
until ended=$(state) && [ "$(jq --raw-output .lastStatus <<< "$ended")" = STOPPED ]; do sleep "${POLL_SECONDS:-5}"; done
jq --raw-output '[.stoppedReason, .containers[0].reason] | map(strings) | join("; ")' <<< "$ended" >&2
# A container that never ran has no exit code.
exit "$(jq '.containers[0].exitCode // 1' <<< "$ended")"

#!/usr/bin/env bash
# Runs a command once, beside the running service of a stack made of scaled.yaml, in the container of target migrate:
# deploy/aws/command.sh STACK [COMMAND...]. Without a command it migrates. Exits as the command did.
set -euo pipefail
stack=$1
shift
output() {
    aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}
cluster=$(output Cluster)
network=$(aws ecs describe-services --cluster "$cluster" --services "$(output WorkerService)" \
    --query 'services[0].networkConfiguration' --output json)
overrides=$(jq --null-input --compact-output '{containerOverrides:
    (if $ARGS.positional == [] then [] else [{name: "command", command: $ARGS.positional}] end)}' --args -- "$@")

task=$(aws ecs run-task --cluster "$cluster" --task-definition "$(output CommandTask)" --launch-type FARGATE \
    --network-configuration "$network" --overrides "$overrides" --query 'tasks[0].taskArn' --output text)
echo "$task; its log is in the group of $stack's CommandLogs" >&2
status=
while [ "$status" != STOPPED ]; do
    sleep "${POLL_SECONDS:-5}"
    status=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].lastStatus' --output text)
done
aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --output text \
    --query 'tasks[0].[stoppedReason, containers[0].reason]' >&2
# A container that never ran has no exit code: "None".
code=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].containers[0].exitCode' --output text)
[[ $code =~ ^[0-9]+$ ]] || code=1
exit "$code"

#!/usr/bin/env bash
# Runs a command on an EC2 instance by Systems Manager, without SSH: deploy/remote.sh INSTANCE COMMAND
# Prints what the command wrote, and exits 0 if it did.
set -euo pipefail
instance=$1 command=$2
parameters=$(jq --null-input --compact-output --arg command "$command" '{commands: [$command]}')
id=$(aws ssm send-command --instance-ids "$instance" --document-name AWS-RunShellScript \
    --parameters "$parameters" --query Command.CommandId --output text)
invocation() { aws ssm get-command-invocation --command-id "$id" --instance-id "$instance" "$@"; }

status=Pending misses=0
while [[ $status =~ ^(Pending|InProgress|Delayed)$ ]]; do
    sleep 3
    # Right after it was sent, the instance may not have it yet; later, asking may fail once.
    status=$(invocation --query Status --output text) || { [ $((misses += 1)) -lt 5 ] || exit 1; status=Pending; }
done
invocation --query '[StandardOutputContent, StandardErrorContent]' --output text
[ "$status" = Success ]

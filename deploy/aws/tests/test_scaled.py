"""What scaled.yaml becomes: closed stores, containers that may little, and workers that follow the backlog."""

import json
import re
from typing import Any

import environ

from config.tests.environment import ROOT
from deploy.aws.tests.account import Stack
from deploy.aws.tests.test_network import subnets
from predictions import cloudwatch

TASKS = {"web": "WebTask", "worker": "WorkerTask", "command": "CommandTask"}


def ingress(stack: Stack, group: str) -> set[tuple[int, str]]:
    """Return the ports that are open, and to which addresses or which of the stack's groups."""
    ids = {stack.id(key): key for key, resource in stack.template["Resources"].items() if key.endswith("Group")}
    (found,) = stack.client("ec2").describe_security_groups(GroupIds=[stack.id(group)])["SecurityGroups"]
    rules: set[tuple[int, str]] = set()
    for rule in found["IpPermissions"]:
        assert rule["FromPort"] == rule["ToPort"]
        rules |= {(rule["FromPort"], addresses["CidrIp"]) for addresses in rule["IpRanges"]}
        rules |= {(rule["FromPort"], ids[pair["GroupId"]]) for pair in rule["UserIdGroupPairs"]}
    return rules


def test_only_the_load_balancer_is_open_to_the_internet(scaled: Stack) -> None:
    assert ingress(scaled, "LoadBalancerGroup") == {(80, "0.0.0.0/0"), (443, "0.0.0.0/0")}
    assert ingress(scaled, "WebGroup") == {(8000, "LoadBalancerGroup")}
    assert ingress(scaled, "WorkerGroup") == set()
    assert ingress(scaled, "DatabaseGroup") == {(5432, "WebGroup"), (5432, "WorkerGroup")}
    assert ingress(scaled, "CacheGroup") == {(6379, "WebGroup"), (6379, "WorkerGroup")}


def test_the_database_is_private_encrypted_and_backed_up(scaled: Stack, network: Stack) -> None:
    (database,) = scaled.client("rds").describe_db_instances()["DBInstances"]
    assert (database["Engine"], database["DBName"]) == ("postgres", "classification")
    assert database["StorageEncrypted"]
    assert not database["PubliclyAccessible"]
    assert database["BackupRetentionPeriod"] == 7
    private = {subnet["SubnetId"] for name, subnet in subnets(network).items() if "private" in name}
    assert {subnet["SubnetIdentifier"] for subnet in database["DBSubnetGroup"]["Subnets"]} == private
    assert scaled.template["Resources"]["Database"]["DeletionPolicy"] == "Snapshot"
    # Which moto forgets.
    assert scaled.template["Resources"]["Database"]["Properties"]["DeletionProtection"] == {"Ref": "Protection"}
    assert scaled.template["Parameters"]["Protection"]["Default"] == "true"


def test_the_bucket_is_private_encrypted_and_forgives_deleting(scaled: Stack) -> None:
    s3, bucket = scaled.client("s3"), scaled.id("Photos")
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert len(block) == 4
    assert all(block.values())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (ownership,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert ownership["ObjectOwnership"] == "BucketOwnerEnforced"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    assert scaled.template["Resources"]["Photos"]["DeletionPolicy"] == "Retain"


def test_bells_that_nobody_answers_end_among_the_dead_letters(scaled: Stack) -> None:
    sqs = scaled.client("sqs")
    bells = sqs.get_queue_attributes(QueueUrl=scaled.id("Bells"), AttributeNames=["All"])["Attributes"]
    dead = sqs.get_queue_attributes(QueueUrl=scaled.id("DeadBells"), AttributeNames=["All"])["Attributes"]
    redrive = json.loads(bells["RedrivePolicy"])
    assert (redrive["deadLetterTargetArn"], int(redrive["maxReceiveCount"])) == (dead["QueueArn"], 5)
    assert int(dead["MessageRetentionPeriod"]) > int(bells["MessageRetentionPeriod"])
    (statement,) = json.loads(bells["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    for queue in ("Bells", "DeadBells"):
        assert scaled.properties(queue)["SqsManagedSseEnabled"]


def test_a_bell_is_hidden_for_as_long_as_the_worker_may_take(scaled: Stack, settings: Any) -> None:
    assert scaled.properties("Bells")["VisibilityTimeout"] >= settings.Q_CLUSTER["retry"]
    for task in ("WebTask", "WorkerTask"):
        (container,) = scaled.properties(task)["ContainerDefinitions"]
        assert container["StopTimeout"] > settings.LEASE_SECONDS


def test_web_may_drain_and_then_finish_what_is_under_way(scaled: Stack) -> None:
    drain = int(environment(scaled, "WebTask")["DRAIN_SECONDS"])
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)", (ROOT / "deploy/gunicorn.conf.py").read_text(), re.MULTILINE)
    (container,) = scaled.properties("WebTask")["ContainerDefinitions"]
    assert 0 < drain <= container["StopTimeout"] - int(graceful) - 5


def test_health_is_asked_of_the_process_alone(scaled: Stack) -> None:
    (target,) = scaled.client("elbv2").describe_target_groups()["TargetGroups"]
    assert (target["HealthCheckPath"], target["Port"], target["TargetType"]) == ("/livez", 8000, "ip")
    (container,) = scaled.properties("WebTask")["ContainerDefinitions"]
    assert "http://127.0.0.1:8000/livez" in container["HealthCheck"]["Command"][-1]


def test_http_leads_to_https(scaled: Stack) -> None:
    elb = scaled.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    assert balancer["Scheme"] == "internet-facing"
    assert len(balancer["AvailabilityZones"]) == 2
    listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    http, https = sorted(listeners, key=lambda listener: listener["Port"])
    assert http["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    assert (https["Port"], https["Protocol"], https["DefaultActions"][0]["Type"]) == (443, "HTTPS", "forward")
    # Otherwise the balancer sends requests into connections that gunicorn has just closed.
    attributes = {item["Key"]: item["Value"] for item in scaled.properties("LoadBalancer")["LoadBalancerAttributes"]}
    kept = int(environment(scaled, "WebTask")["GUNICORN_CMD_ARGS"].removeprefix("--keep-alive "))
    assert kept > int(attributes["idle_timeout.timeout_seconds"])


def environment(stack: Stack, task: str) -> dict[str, str]:
    (container,) = stack.properties(task)["ContainerDefinitions"]
    return {item["Name"]: item["Value"] for item in container["Environment"]}


def test_containers_are_named_by_digest_and_may_change_nothing_but_data(scaled: Stack) -> None:
    ecs = scaled.client("ecs")
    for name, key in TASKS.items():
        (container,) = ecs.describe_task_definition(taskDefinition=scaled.id(key))["taskDefinition"][
            "containerDefinitions"
        ]
        assert container["name"] == name
        assert "@sha256:" in container["image"]
        assert container["user"] == "10001:10001"
        assert container["readonlyRootFilesystem"]
        assert container["linuxParameters"]["capabilities"]["drop"] == ["ALL"]
        assert container["linuxParameters"]["initProcessEnabled"]  # a process 1 that is starting hears no SIGTERM
        assert [mount["containerPath"] for mount in container["mountPoints"]] == ["/data"]
        assert {secret["name"] for secret in container["secrets"]} == {"SECRET_KEY", "DATABASE_URL"}
        assert environment(scaled, key).keys().isdisjoint({"SECRET_KEY", "DATABASE_URL"})
    assert environment(scaled, "WebTask").items() >= environment(scaled, "CommandTask").items()
    assert environment(scaled, "WorkerTask").items() >= environment(scaled, "CommandTask").items()


def test_the_stores_are_those_of_the_stack(scaled: Stack) -> None:
    told = environment(scaled, "WorkerTask")
    assert told["MEDIA"] == f"s3://{scaled.id('Photos')}/media"
    assert told["BROKER_URL"] == f"sqs://us-east-1/{scaled.id('Bells').rsplit('/', 1)[-1]}"
    (database,) = scaled.client("rds").describe_db_instances()["DBInstances"]
    url = scaled.client("secretsmanager").get_secret_value(SecretId="DatabaseUrl")["SecretString"]
    # As CloudFormation would: moto leaves these references as they are.
    password = scaled.client("secretsmanager").get_secret_value(SecretId="DatabasePassword")["SecretString"]
    before, _, rest = url.partition("{{resolve:secretsmanager:")
    config = environ.Env.db_url_config(before + password + rest.partition("}}")[2])
    assert config["HOST"] == database["Endpoint"]["Address"]
    assert (config["NAME"], config["USER"]) == (database["DBName"], database["MasterUsername"])
    assert config["PASSWORD"] == password
    assert len(password) == 40
    assert config["OPTIONS"] == {"sslmode": "require"}


def test_workers_follow_the_backlog_and_web_its_cpu(scaled: Stack) -> None:
    scaling = scaled.client("application-autoscaling")
    targets = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    limits = {target["ResourceId"]: (target["MinCapacity"], target["MaxCapacity"]) for target in targets}
    services = [
        f"service/{scaled.outputs['Cluster']}/{scaled.outputs[name]}" for name in ("WebService", "WorkerService")
    ]
    assert limits == dict(zip(services, [(2, 4), (1, 6)], strict=True))
    policies = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    backlog, cpu = (policy["TargetTrackingScalingPolicyConfiguration"] for policy in sorted(policies, key=policy_name))
    assert cpu["PredefinedMetricSpecification"]["PredefinedMetricType"] == "ECSServiceAverageCPUUtilization"
    *sources, result = backlog["CustomizedMetricSpecification"]["Metrics"]
    metrics = [source["MetricStat"]["Metric"] for source in sources]
    assert {metric["Namespace"] for metric in metrics} == {environment(scaled, "WorkerTask")["CLOUDWATCH_NAMESPACE"]}
    assert {metric["MetricName"] for metric in metrics} == {"Backlog", "Workers"}
    processes = int(environment(scaled, "WorkerTask")["WORKERS"])
    assert per_task(result["Expression"], backlog=9000, workers=3 * processes) == 3000
    assert per_task(result["Expression"], backlog=9000, workers=0) == 9000  # none has reported yet


def policy_name(policy: dict[str, Any]) -> str:
    return str(policy["PolicyName"])


def per_task(expression: str, **metrics: float) -> float:
    """Evaluate CloudWatch's metric math, as far as it is like Python's."""
    return float(eval(expression, {"IF": lambda condition, yes, no: yes if condition else no}, metrics))


def test_alarms_look_at_metrics_that_exist_and_tell_the_topic(scaled: Stack) -> None:
    resources = scaled.template["Resources"].items()
    named = [key for key, resource in resources if resource["Type"] == "AWS::CloudWatch::Alarm"]
    found = scaled.client("cloudwatch").describe_alarms(AlarmNames=named)["MetricAlarms"]
    alarms = {alarm["AlarmName"]: alarm for alarm in found}
    assert len(alarms) == len(named) == 9
    assert all(alarm["AlarmActions"] == [scaled.id("Alarms")] for alarm in alarms.values())
    ours = {alarm["MetricName"] for alarm in alarms.values() if alarm["Namespace"] == scaled.name}
    assert ours == set(cloudwatch.METRICS)
    # Silence is the alarm where whoever would speak is the one that fails.
    assert {name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"} == {"NoWeb", "NoWorker"}
    queue = {dimension["Value"] for dimension in alarms["DeadLetters"]["Dimensions"]}
    assert queue == {scaled.id("DeadBells").rsplit("/", 1)[-1]}


def test_the_database_has_connections_for_all_tasks_while_a_release_goes_on(scaled: Stack) -> None:
    each = {
        "Web": int(environment(scaled, "WebTask")["DATABASE_POOL"]),
        "Worker": int(environment(scaled, "WorkerTask")["WORKERS"]) + 3,  # measured: and three of the cluster
    }
    assert each["Worker"] == 7
    connections = 0
    for name, of_a_task in each.items():
        tasks = scaled.template["Parameters"][f"{name}TasksMax"]["Default"]
        released = scaled.properties(f"{name}Service")["DeploymentConfiguration"]["MaximumPercent"] / 100
        connections += tasks * released * of_a_task
    assert connections <= scaled.properties("DatabaseIsCrowded")["Threshold"]

"""Settings of a step's pod: devices, nodes, memory, volumes, secrets, user, retries."""

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig, PipelineTaskSpec

from pipeline.kubeflow.exit_handler import STEP as EXIT_STEP
from pipeline.kubeflow.node_pools import placement
from pipeline.kubeflow.settings import (
    SECONDS_OF_AN_HOUR,
    STEP_LABEL,
    Kubeflow,
    Resources,
    Retries,
    Secret,
    Users,
    Volume,
    amount,
)

if TYPE_CHECKING:
    from pipeline.kubeflow.access import Access

_ContainerSpec = PipelineDeploymentConfig.PipelineContainerSpec
_ResourceSpec = _ContainerSpec.ResourceSpec
_GIGA = 1e9
_SHARED_MEMORY_PATH = "/dev/shm"
_SCRATCH_PATH = "/work"
# The image's files and folders belong to this group.
_IMAGE_GROUP = 0


def resources(node_id: str, kubeflow: Kubeflow) -> dict[str, Any]:
    """Returns the `resources` of a step's container, in the pipeline's JSON format."""
    placed = placement(node_id, kubeflow)
    limits = placed.resources
    spec = _ResourceSpec(cpu_limit=amount(limits.cpu), memory_limit=amount(limits.memory) / _GIGA)
    if kubeflow.target == "kubeflow":
        # Newer backends read the text, older ones and Vertex AI the number.
        spec.resource_cpu_limit, spec.resource_memory_limit = limits.cpu, limits.memory
    if limits.cpu_request is not None:
        spec.cpu_request, spec.resource_cpu_request = amount(limits.cpu_request), limits.cpu_request
    if limits.memory_request is not None:
        spec.memory_request = amount(limits.memory_request) / _GIGA
        spec.resource_memory_request = limits.memory_request
    if gpu := placed.gpu:
        spec.accelerator.type, spec.accelerator.count = gpu.accelerator, gpu.count
        if kubeflow.target == "kubeflow":
            spec.accelerator.resource_type = gpu.accelerator
            spec.accelerator.resource_count = str(gpu.count)
    return json_format.MessageToDict(spec)


def environment(kubeflow: Kubeflow) -> list[dict[str, str]]:
    """Returns the `env` of a step's container, sorted by name."""
    return [{"name": name, "value": value} for name, value in sorted(kubeflow.env.items())]


def retry_policy(retries: Retries, target: str) -> dict[str, Any]:
    """Returns the `retryPolicy` of a task.

    Args:
      retries: the settings.
      target: `kubeflow` or `vertex`, which give the longest duration another meaning. Argo, on
        which Kubeflow Pipelines runs, stops the step when it has passed since the first attempt
        began, and retries nothing without it; for Vertex AI it is the longest wait, of one hour
        at most.
    """
    policy = PipelineTaskSpec.RetryPolicy(
        max_retry_count=retries.count, backoff_factor=retries.backoff_factor
    )
    policy.backoff_duration.seconds = retries.backoff_seconds
    hours = retries.give_up_after_hours if target == "kubeflow" else 1
    policy.backoff_max_duration.seconds = round(hours * SECONDS_OF_AN_HOUR)
    return json_format.MessageToDict(policy)


def executor_config(
    node_id: str, name: str, granted: "Access", kubeflow: Kubeflow
) -> dict[str, Any]:
    """Returns the Kubernetes settings of a step, in the format of the YAML's second document.

    Only the steps of a pool of nodes have its selector and tolerations, so that no other step is
    scheduled there.

    Args:
      node_id: such as `Trainer`, or `Trainer.balanced`.
      name: the step's name on the cluster.
      granted: the volumes, secrets and rights of the step.
      kubeflow: the settings.
    """
    placed = placement(node_id, kubeflow)
    config = kubernetes.KubernetesExecutorConfig(
        pvc_mount=[_mount(volume) for volume in granted.volumes],
        secret_as_env=[
            _secret(secret, is_optional=node_id == EXIT_STEP) for secret in granted.secrets
        ],
        empty_dir_mounts=_empty_dirs(placed.resources),
        security_context=_security_context(granted, kubeflow.users),
    )
    config.pod_metadata.labels.update({**kubeflow.labels, STEP_LABEL: name, **placed.labels})
    config.pod_metadata.annotations.update(kubeflow.annotations)
    config.node_selector.labels.update(placed.node_selector)
    for toleration in placed.tolerations:
        config.tolerations.add(**toleration.model_dump(exclude_none=True))
    return json_format.MessageToDict(config)


def _security_context(granted: "Access", users: Users) -> kubernetes.SecurityContext:
    """Returns the user of a step.

    Kubeflow Pipelines can't mount a claim read-only. Instead, steps that only read run as a user
    who can't change what the other steps have written.
    """
    context = kubernetes.SecurityContext(run_as_non_root=True)
    if granted.writes and users.writer is not None:
        context.run_as_user, context.run_as_group = users.writer, _IMAGE_GROUP
    elif not granted.writes and users.reader is not None:
        context.run_as_user = context.run_as_group = users.reader
    return context


def _empty_dirs(resources: Resources) -> list[kubernetes.EmptyDirMount]:
    mounts = []
    if resources.shared_memory:
        mounts.append(
            kubernetes.EmptyDirMount(
                volume_name="shared-memory",
                mount_path=_SHARED_MEMORY_PATH,
                medium="Memory",
                size_limit=resources.shared_memory,
            )
        )
    # Always mounted: the image's own folder is writable only for the image's user and group.
    mounts.append(
        kubernetes.EmptyDirMount(
            volume_name="scratch",
            mount_path=_SCRATCH_PATH,
            size_limit=resources.ephemeral_storage,
        )
    )
    return mounts


def _mount(volume: Volume) -> kubernetes.PvcMount:
    # The name is set in both fields: older backends read one, newer ones the other.
    mount = kubernetes.PvcMount(mount_path=volume.path, constant=volume.claim)
    mount.pvc_name_parameter.runtime_value.constant.string_value = volume.claim
    return mount


def _secret(secret: Secret, *, is_optional: bool) -> kubernetes.SecretAsEnv:
    """A secret; a pod waits without end for one that is missing, unless it is optional."""
    found = kubernetes.SecretAsEnv(
        secret_name=secret.name,
        key_to_env=[
            kubernetes.SecretAsEnv.SecretKeyToEnvMap(secret_key=key, env_var=variable)
            for variable, key in sorted(secret.env.items())
        ],
    )
    if is_optional:
        found.optional = True
    found.secret_name_parameter.runtime_value.constant.string_value = secret.name
    return found

"""The settings' section `kubeflow`: where and how the pipeline runs on a cluster."""

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from components.paths import LocalPath, literal
from components.section import Count, PositiveCount, Section, matching

# What the launcher of Kubeflow Pipelines has a local folder for.
LAUNCHER_SCHEMES = ("gs", "s3", "minio")

Quantity = Annotated[
    str,
    matching(
        r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", "a quantity of Kubernetes, such as 2, 500m or 8Gi"
    ),
]
DnsLabel = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "a name of Kubernetes: up to 63 lower case letters, digits and -, no - at either end",
    ),
]
DnsSubdomain = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "a name of Kubernetes: up to 253 lower case letters, digits, - and ., none of the two "
        "at either end",
    ),
]


def _tagged(image: str) -> str:
    name = image.rpartition("/")[2]
    tag = image.rpartition("@")[2] if "@" in image else name.partition(":")[2]
    if not tag or tag == "latest":
        raise ValueError(
            "an image wants a tag of its own or a digest, such as "
            "registry.example.com/outnumbered:1.0.0, so that a run can be repeated"
        )
    if re.search(r"\s", image):
        raise ValueError("an image's name has no spaces")
    return image


Image = Annotated[str, AfterValidator(_tagged)]


class Resources(Section):
    """What a step's pod asks for."""

    cpu: Quantity = Field(default="2", description="CPU limit.")
    memory: Quantity = Field(default="8Gi", description="Memory limit.")
    ephemeral_storage: Quantity | None = Field(
        default=None, description="Scratch disk; null: the node's default."
    )
    shared_memory: Quantity | None = Field(
        default=None, description="Size of /dev/shm, for data loading; null: the node's default."
    )


class Toleration(Section):
    """A taint that GPU steps may land on in spite of."""

    key: str
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = "NoSchedule"


class Gpu(Section):
    """The steps on GPU nodes."""

    steps: list[Literal["Trainer", "FeatureExtractor"]] = Field(
        default=["Trainer"], description="Which steps run there."
    )
    count: Count = Field(default=1, description="GPUs a step; 0 trains on CPUs.")
    accelerator: str = Field(
        default="nvidia.com/gpu",
        description="The resource's name; for vertex, such as NVIDIA_TESLA_T4.",
    )
    node_selector: dict[str, str] = Field(default={}, description="Labels of the GPU nodes.")
    tolerations: list[Toleration] = Field(
        default=[Toleration(key="nvidia.com/gpu")], description="Taints of the GPU nodes."
    )
    resources: Resources = Field(
        default=Resources(cpu="4", memory="16Gi", shared_memory="2Gi"),
        description="What these steps' pods ask for.",
    )

    @model_validator(mode="after")
    def _selector_has_a_gpu(self) -> "Gpu":
        if self.count == 0 and self.node_selector:
            raise ValueError(
                f"count is 0 and node_selector {self.node_selector} would hold a GPU node for a "
                "step that uses none; set count to 1 or more, or leave node_selector out"
            )
        return self


class Retries(Section):
    """How often a step is tried again, for nodes that may be taken away."""

    count: Count = Field(default=3, description="Attempts after the first.")
    backoff_seconds: Count = Field(default=60, description="Wait before the first of them.")
    backoff_factor: Annotated[float, Field(ge=1)] = Field(
        default=2.0, description="Each wait over the one before."
    )
    max_backoff_seconds: PositiveCount = Field(default=3600, description="The longest wait.")


class Volume(Section):
    """A persistent volume claim mounted into every step."""

    claim: DnsSubdomain
    path: Annotated[str, matching(r"/.+", "a path from the root, such as /registry")]


class Secret(Section):
    """Keys of a Kubernetes secret as environment variables; never their values."""

    name: DnsSubdomain
    env: dict[str, str] = Field(description="Environment variable: key of the secret.")


class Auth(Section):
    """How the command line proves who it is to Kubeflow Pipelines."""

    kind: Literal["none", "token", "service_account"] = Field(
        default="none",
        description="token: of an environment variable; service_account: the pod's own.",
    )
    token_env: str = Field(
        default="KUBEFLOW_TOKEN", description="Environment variable that holds the token."
    )
    token_path: LocalPath = Field(
        default="/var/run/secrets/kubeflow/pipelines/token",
        description="File of the service account's projected token.",
    )


class Schedule(Section):
    """When the pipeline runs by itself."""

    cron: str = Field(description="Six fields, seconds first, in UTC: 0 0 3 * * *.")
    enabled: bool = Field(default=True, description="false: made, and paused.")
    catchup: bool = Field(default=False, description="Make up for runs that were missed.")
    max_concurrency: Literal[1] = Field(default=1, description="Runs never overlap.")

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, cron: str) -> str:
        from pipeline.kubeflow.cron import check

        check(cron)
        return cron


def checked_root(root: str) -> str:
    """A pipeline root without a slash at its end.

    Raises:
      ValueError: the launcher has no folder for it, or TFX would read it as a pattern.
    """
    scheme, separator, rest = root.partition("://")
    if not separator or scheme not in LAUNCHER_SCHEMES or not rest.strip("/"):
        allowed = ", ".join(f"{known}://bucket/path" for known in LAUNCHER_SCHEMES)
        raise ValueError(f"the cluster's launcher can't map it to a local folder; give {allowed}")
    return literal(root.rstrip("/"))


PipelineRoot = Annotated[str, AfterValidator(checked_root)]


class Kubeflow(Section):
    """Where and how the pipeline runs on a cluster. Only `outnumbered kubeflow` reads it."""

    target: Literal["kubeflow", "vertex"] = Field(
        default="kubeflow", description="kubeflow: the open-source backend; vertex: Vertex AI."
    )
    image: Image = Field(description="Image of every step, with a tag or a digest.")
    gpu_image: Image | None = Field(
        default=None, description="Image of the steps on GPU nodes; null: as image."
    )
    pipeline_root: PipelineRoot = Field(
        description="Where artifacts lie, such as s3://bucket/outnumbered: gs, s3 or minio."
    )
    host: str | None = Field(
        default=None, description="URL of the Kubeflow Pipelines API, such as https://kfp.example."
    )
    namespace: DnsLabel = Field(default="kubeflow", description="Namespace of the runs.")
    experiment: str = Field(default="outnumbered", description="Experiment of the runs.")
    service_account: DnsSubdomain | None = Field(
        default=None, description="Service account of the steps; null: the cluster's default."
    )
    verify_tls: bool = Field(default=True, description="Refuse a certificate that can't be proved.")
    ca_file: LocalPath | None = Field(
        default=None, description="Certificates to trust beside the usual."
    )
    auth: Auth = Field(default=Auth(), description="How the command line proves who it is.")
    resources: Resources = Field(default=Resources(), description="What each CPU step asks for.")
    gpu: Gpu = Field(default=Gpu(), description="The steps on GPU nodes.")
    retries: Retries = Field(default=Retries(), description="How often a step is tried again.")
    volumes: list[Volume] = Field(
        default=[], description="Claims mounted into each step, such as the registry's."
    )
    secrets: list[Secret] = Field(default=[], description="Secrets as environment variables.")
    env: dict[str, str] = Field(default={}, description="Environment variables of each step.")
    schedule: Schedule | None = Field(
        default=None, description="When it runs by itself; null: never."
    )

    @model_validator(mode="after")
    def _nothing_is_set_twice(self) -> "Kubeflow":
        variables = [*self.env, *(name for secret in self.secrets for name in secret.env)]
        paths = [volume.path.rstrip("/") for volume in self.volumes]
        for what, given in (("the environment variable", variables), ("a volume at", paths)):
            twice = sorted(name for name, count in Counter(given).items() if count > 1)
            if twice:
                raise ValueError(
                    f"{what} {twice[0]} is given twice, in env, secrets or volumes; leave one out"
                )
        return self

    @field_validator("host")
    @classmethod
    def _is_a_url(cls, host: str | None) -> str | None:
        if host is not None and not re.match(r"^https?://[^/\s]+", host):
            raise ValueError("wants a URL that begins with http:// or https://")
        return host

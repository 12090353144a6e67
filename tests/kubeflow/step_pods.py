"""The pods that Kubeflow Pipelines 2.16 makes of the compiled steps, and Pod Security's rules.

What the backend adds was read in its source: `argocompiler/security_context.go`, `driver/k8s.go`
and the executor's section of `workflow-controller-configmap`.
"""

import copy

_CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_SYSTEM = {**_CONFINED, "runAsNonRoot": True}
_LAUNCHER_FOLDERS = ("kfp-launcher", "gcs", "s3", "minio")


def pod(label, documents):
    """The pod of a step, by the label of its executor."""
    spec, platform = documents
    container = spec["deploymentSpec"]["executors"][label]["container"]
    config = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
    claims, folders = config.get("pvcMount", []), config.get("emptyDirMounts", [])
    volumes = [
        *({"name": name, "emptyDir": {}} for name in _LAUNCHER_FOLDERS),
        *({"name": f["volumeName"], "emptyDir": _limits(f)} for f in folders),
        *(
            {"name": m["constant"], "persistentVolumeClaim": {"claimName": m["constant"]}}
            for m in claims
        ),
    ]
    mounts = [
        *({"name": name, "mountPath": f"/{name}"} for name in _LAUNCHER_FOLDERS),
        *({"name": f["volumeName"], "mountPath": f["mountPath"]} for f in folders),
        *({"name": m["constant"], "mountPath": m["mountPath"]} for m in claims),
    ]
    secrets = [
        {
            "name": key["envVar"],
            "valueFrom": {
                "secretKeyRef": {
                    "name": secret["secretName"],
                    "key": key["secretKey"],
                    "optional": secret.get("optional", False),
                }
            },
        }
        for secret in config.get("secretAsEnv", [])
        for key in secret["keyToEnv"]
    ]
    main = {
        "name": "main",
        "image": container["image"],
        "command": container["command"],
        "args": container["args"],
        "env": [*container.get("env", []), *secrets],
        "volumeMounts": mounts,
        "securityContext": {**_CONFINED, **_identity(config.get("securityContext", {}))},
    }
    system = [{"name": name, "image": "system:1", "securityContext": _SYSTEM} for name in "abc"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "step",
            "labels": {
                "pipelines.kubeflow.org/v2_component": "true",
                **config.get("podMetadata", {}).get("labels", {}),
            },
        },
        "spec": copy.deepcopy(
            {
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "initContainers": system[:2],
                "containers": [main, system[2]],
                "volumes": volumes,
            }
        ),
    }


def _limits(folder):
    keys = {"medium": "medium", "sizeLimit": "sizeLimit"}
    return {ours: folder[theirs] for ours, theirs in keys.items() if folder.get(theirs)}


def _identity(context):
    # JSON of a 64-bit integer is text.
    found = {key: int(context[key]) for key in ("runAsUser", "runAsGroup") if key in context}
    return {**found, **({"runAsNonRoot": True} if context.get("runAsNonRoot") else {})}


_ADMITTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod):
    """What the Pod Security standard `restricted` refuses in a pod, as text."""
    spec = pod["spec"]
    shared = spec.get("securityContext", {})
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes", []):
        (kind,) = volume.keys() - {"name"}
        if kind not in _ADMITTED_VOLUMES:
            found.append(f"volume {volume['name']} is {kind}")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        found += [f"{container['name']}: {text}" for text in _refused(container, shared)]
    return found


def _refused(container, shared):
    own = container.get("securityContext", {})
    both = {**shared, **own}
    capabilities = own.get("capabilities", {})
    rules = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation != false": own.get("allowPrivilegeEscalation") is False,
        "unrestricted capabilities": "ALL" in capabilities.get("drop", [])
        and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot != true": both.get("runAsNonRoot") is True,
        "runAsUser = 0": both.get("runAsUser") != 0,
        "seccompProfile": both.get("seccompProfile", {}).get("type")
        in {"RuntimeDefault", "Localhost"},
    }
    return [text for text, holds in rules.items() if not holds]

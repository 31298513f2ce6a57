"""The Pod Security Standard `restricted`, as far as a pod spec of ours could break it."""

from __future__ import annotations

from typing import Any

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def violations(spec: dict[str, Any]) -> list[str]:
    """What `pod-security.kubernetes.io/enforce: restricted` would refuse (kubernetes.io/docs/concepts/security)."""
    found = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    found += [
        f"volume {volume['name']} is no {'/'.join(sorted(_VOLUMES))}"
        for volume in spec.get("volumes", ())
        if not _VOLUMES & set(volume)
    ]
    pod = spec.get("securityContext", {})
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        own = container.get("securityContext", {})
        both = {**pod, **own}
        if both.get("privileged"):
            found.append("privileged")
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            found.append("may run as root")
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append("no seccomp profile")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("may escalate privileges")
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            found.append("keeps capabilities")
        if set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"}:
            found.append("adds capabilities")
        if any("hostPort" in port for port in container.get("ports", ())):
            found.append("binds a host port")
    return found

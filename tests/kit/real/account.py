"""What a person would look at when a job does not do what it should: the text of a test's failure."""

from __future__ import annotations

import subprocess

from real.access import Access, Refused

_TAIL = 25


def account(access: Access, namespace: str) -> str:
    """Objects, events and the ends of all logs in a namespace; whatever cannot be had says why."""
    parts = [
        _said(
            access,
            "get",
            "finetunejobs,jobs,pods,services,configmaps,networkpolicies",
            "--output=wide",
            *_in(namespace),
        ),
        _said(access, "describe", "finetunejobs", *_in(namespace)),
        _said(access, "get", "events", "--sort-by=.metadata.creationTimestamp", *_in(namespace)),
    ]
    pods = _said(access, "get", "pods", "--output=name", *_in(namespace)).splitlines()
    parts += [_said(access, "logs", pod, f"--tail={_TAIL}", *_in(namespace)) for pod in pods if pod.startswith("pod/")]
    return "\n\n".join(parts)


def _in(namespace: str) -> list[str]:
    return [f"--namespace={namespace}"]


def _said(access: Access, *arguments: str) -> str:
    title = f"$ kubectl {' '.join(arguments)}\n"
    try:
        return title + access.kubectl(*arguments, within=20)
    except (Refused, subprocess.TimeoutExpired) as reason:
        return f"{title}{reason}"

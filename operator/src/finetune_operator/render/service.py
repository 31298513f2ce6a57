"""The headless Service that gives every pod of a training gang a DNS name."""

from __future__ import annotations

from finetune_api.contract import PORT_NAME_RENDEZVOUS, PORT_RENDEZVOUS
from finetune_api.job import FineTuneJob
from finetune_api.status import Attempt
from finetune_operator.apply import Manifest
from finetune_operator.render.names import metadata, pod_selector


def service(job: FineTuneJob, attempt: Attempt) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(job, attempt),
        "spec": {
            "clusterIP": "None",
            # Ranks look for each other before any of them is ready (kubernetes-sigs/jobset#504).
            "publishNotReadyAddresses": True,
            "selector": pod_selector(attempt),
            "ports": [
                {
                    "name": PORT_NAME_RENDEZVOUS,
                    "port": PORT_RENDEZVOUS,
                    "targetPort": PORT_NAME_RENDEZVOUS,
                    "protocol": "TCP",
                    "appProtocol": "tcp",
                }
            ],
        },
    }

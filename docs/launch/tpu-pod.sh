#!/bin/bash
# A Cloud TPU pod without Kubernetes: POD=… ZONE=… docs/launch/tpu-pod.sh
# Every host runs the same command. /runs is a directory that all of them have mounted.
set -euo pipefail

on_all_hosts() {
    gcloud compute tpus tpu-vm ssh "${POD:?name of the pod}" --zone "${ZONE:?its zone}" \
        --worker all --command "$1"
}

on_all_hosts "python3 -m venv .venv && .venv/bin/pip install '/runs/elicit[tpu]'"
on_all_hosts ".venv/bin/elicit synthesize --classifier /runs/teacher --data cifar10 \
--data-dir /runs/data --precision bfloat16 --devices 4 --batch-size 4096 --out /runs/images \
--distributed on"

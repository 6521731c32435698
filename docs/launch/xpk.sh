#!/bin/bash
# XPK, the same slice as gke.yaml in one command: CLUSTER=… IMAGE=… docs/launch/xpk.sh
# The volume of the runs must be attached to the cluster, as with `xpk storage attach`.
set -euo pipefail

xpk workload create \
    --cluster "${CLUSTER:?name of the cluster}" \
    --workload elicit-images \
    --tpu-type v5litepod-16 \
    --num-slices 1 \
    --docker-image "${IMAGE:?name of the image}" \
    --max-restarts 20 \
    --command "elicit synthesize --classifier /runs/teacher --data cifar10 --data-dir /runs/data \
--precision bfloat16 --devices 4 --batch-size 4096 --out /runs/images --distributed on"

#!/bin/bash
# Slurm, one process a GPU: sbatch docs/launch/slurm.sh
# A preempted job is put in the queue again, and goes on where it stopped.
#SBATCH --job-name=elicit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
set -euo pipefail

# All nodes must see these directories.
data=${DATA:-data}
runs=${RUNS:-runs}

srun elicit classifier train --data cifar10 --data-dir "$data" --model vgg16 --batch-size 1024 \
    --out "$runs/teacher" --distributed on
srun elicit synthesize --classifier "$runs/teacher" --data cifar10 --data-dir "$data" \
    --precision bfloat16 --batch-size 4096 --out "$runs/images" --distributed on

#!/usr/bin/env bash
# Train on several GPUs (or CPU processes) of one machine: tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT are read from the environment for several machines.
set -euo pipefail
CONFIG=$1
GPUS=$2
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$GPUS" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"

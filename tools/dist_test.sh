#!/usr/bin/env bash
# Test on several GPUs (or CPU processes): tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT are read from the environment for several machines.
set -euo pipefail
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$GPUS" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"

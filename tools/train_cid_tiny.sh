#!/usr/bin/env bash
# Train the three phases of cid_tiny, each from the one before:
#   tools/train_cid_tiny.sh WORK_DIR TARGET_DIR [CLEAR.mp4 ...]
# TARGET_DIR is a folder of hazy photographs without clear versions, to which the network is adapted; clear videos join
# the procedural scenes. About 25 minutes on one Zen 4 core with bfloat16 instructions; an interrupted run goes on where
# it was.
set -euo pipefail
WORK_DIR=$1
TARGET_DIR=$2
shift 2
VIDEOS="[$(IFS=,; echo "$*")]"
TOOLS=$(dirname "$0")
FROM=
for PHASE in pretrain supervised adapt; do
    python "$TOOLS/train.py" "cid_tiny_$PHASE" --amp --resume --work-dir "$WORK_DIR/$PHASE" --cfg-options \
        "train_dataloader.dataset.datasets.0.videos=$VIDEOS" "train_dataloader.dataset.datasets.1.data_root=$TARGET_DIR" \
        ${FROM:+"load_from=$FROM"}
    FROM=$(cat "$WORK_DIR/$PHASE/last_checkpoint")
done

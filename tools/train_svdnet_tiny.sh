#!/usr/bin/env bash
# Train the bundled weights of svdnet_tiny and judge them:
#   tools/train_svdnet_tiny.sh WORK_DIR JUDGE.mp4 TRAIN.mp4 [TRAIN.mp4 ...]
# Two phases, both seeded: clips of three frames first, of five then. JUDGE is never trained on.
# About 35 minutes on one Zen 4 core with bfloat16 instructions; an interrupted run goes on where it was.
set -euo pipefail
WORK_DIR=$1
JUDGE=$2
shift 2
VIDEOS="train_dataloader.dataset.videos=[$(IFS=,; echo "$*")]"
TOOLS=$(dirname "$0")
python "$TOOLS/train.py" svdnet_tiny_short --amp --resume --work-dir "$WORK_DIR/short" --cfg-options "$VIDEOS"
python "$TOOLS/train.py" svdnet_tiny --amp --resume --work-dir "$WORK_DIR/clips" \
    --cfg-options "$VIDEOS" "load_from=$(cat "$WORK_DIR/short/last_checkpoint")"
python "$TOOLS/export_weights.py" svdnet_tiny "$(cat "$WORK_DIR/clips/last_checkpoint")" --degradation snow \
    --judge "$JUDGE" --trained-on "procedural scenes and $*" --command "tools/train_svdnet_tiny.sh"

#!/usr/bin/env bash
# Train the bundled weights of vimpnet_tiny and judge them:
#   tools/train_bundled.sh WORK_DIR JUDGE.mp4 TRAIN.mp4 [TRAIN.mp4 ...]
# Three phases, all seeded: the flow network by itself, then the rest on single frames, then everything on clips.
# JUDGE is never trained on. About an hour on one Zen 4 core with bfloat16 instructions; an interrupted run goes on
# where it was.
set -euo pipefail
WORK_DIR=$1
JUDGE=$2
shift 2
VIDEOS="train_dataloader.dataset.videos=[$(IFS=,; echo "$*")]"
TOOLS=$(dirname "$0")
python "$TOOLS/train.py" vimpnet_tiny_flow --resume --work-dir "$WORK_DIR/flow" --cfg-options "$VIDEOS"
python "$TOOLS/train.py" vimpnet_tiny_image --amp --resume --work-dir "$WORK_DIR/image" \
    --cfg-options "$VIDEOS" "model.generator.spynet.checkpoint=$(cat "$WORK_DIR/flow/last_checkpoint")"
python "$TOOLS/train.py" vimpnet_tiny --amp --resume --work-dir "$WORK_DIR/clips" \
    --cfg-options "$VIDEOS" "load_from=$(cat "$WORK_DIR/image/last_checkpoint")"
python "$TOOLS/export_weights.py" vimpnet_tiny "$(cat "$WORK_DIR/clips/last_checkpoint")" --degradation rain \
    --judge "$JUDGE" --trained-on "procedural scenes and $*" --command "tools/train_bundled.sh"

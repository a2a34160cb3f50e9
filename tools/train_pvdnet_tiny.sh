#!/usr/bin/env bash
# Train the bundled weights of pvdnet_tiny and judge them:
#   tools/train_pvdnet_tiny.sh WORK_DIR JUDGE.mp4 TRAIN.mp4 [TRAIN.mp4 ...]
# Motion first, taught with the exact flow of scenes and then by the blur-invariant loss; then the network with motion
# fixed, on short clips and on longer ones. Every phase is seeded. JUDGE is never trained on. About 50 minutes on one
# Zen 4 core with bfloat16 instructions; an interrupted run goes on where it was.
set -euo pipefail
WORK_DIR=$1
JUDGE=$2
shift 2
VIDEOS="train_dataloader.dataset.videos=[$(IFS=,; echo "$*")]"
TOOLS=$(dirname "$0")
train() {
    python "$TOOLS/train.py" "$1" --amp --resume --work-dir "$WORK_DIR/$1" --cfg-options "${@:2}"
}
last() {
    cat "$WORK_DIR/$1/last_checkpoint"
}
train bimnet_tiny_flow "train_dataloader.dataset.videos=[]"
train bimnet_tiny "$VIDEOS" "load_from=$(last bimnet_tiny_flow)"
train pvdnet_tiny_short "$VIDEOS" "model.motion_checkpoint=$(last bimnet_tiny)"
train pvdnet_tiny "$VIDEOS" "load_from=$(last pvdnet_tiny_short)"
python "$TOOLS/export_weights.py" pvdnet_tiny "$(last pvdnet_tiny)" --degradation blur --judge "$JUDGE" \
    --trained-on "procedural scenes and $*" --command "tools/train_pvdnet_tiny.sh"

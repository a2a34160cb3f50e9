#!/usr/bin/env bash
# Train the bundled weights of pmcn_tiny and judge them:
#   tools/train_pmcn_tiny.sh WORK_DIR
# Three trainings, all seeded and on procedural scenes alone: single frames at half the resolution; then pairs of frames
# with the true disparity; and the second once more with each view by itself, to be judged beside it. About three hours and
# a half on one Zen 4 core with bfloat16 instructions, of which rendering the scenes takes ten minutes; an interrupted run
# goes on where it was.
set -euo pipefail
WORK_DIR=$1
TOOLS=$(dirname "$0")
train() {
    python "$TOOLS/train.py" "$1" --amp --resume --work-dir "$WORK_DIR/$1" "${@:2}"
}
last() {
    cat "$WORK_DIR/$1/last_checkpoint"
}
train pmcn_tiny_short
train pmcn_tiny --cfg-options "load_from=$(last pmcn_tiny_short)"
train pmcn_tiny_no_parallax --cfg-options "load_from=$(last pmcn_tiny_short)"
python "$TOOLS/export_weights.py" pmcn_tiny "$(last pmcn_tiny)" --degradation "stereo haze" \
    --without pmcn_tiny_no_parallax "$(last pmcn_tiny_no_parallax)" \
    --trained-on "procedural stereo scenes in synthesised haze" --command "tools/train_pmcn_tiny.sh WORK_DIR"

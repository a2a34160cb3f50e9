#!/usr/bin/env bash
# Train the bundled weights of pvdnet_tiny and judge them:
#   tools/train_pvdnet_tiny.sh WORK_DIR JUDGE.mp4 TRAIN.mp4 [TRAIN.mp4 ...]
# Motion first, taught with the exact flow of scenes, then by the blur-invariant loss, then by flow on films too; then
# the network with motion fixed, at first in the midst of videos and then with their ends. Every phase is seeded and has
# the iterations of the bundled weights, which were counted by a clock. JUDGE is never trained on. About 60 minutes on
# the better part of a Zen 4 core with bfloat16 instructions; an interrupted run goes on where it was.
set -euo pipefail
WORK_DIR=$1
JUDGE=$2
shift 2
VIDEOS="train_dataloader.dataset.videos=[$(IFS=,; echo "$*")]"
TOOLS=$(dirname "$0")
train() {
    python "$TOOLS/train.py" "$2" --amp --resume --work-dir "$WORK_DIR/$1" --cfg-options "${@:3}"
}
last() {
    cat "$WORK_DIR/$1/last_checkpoint"
}
train motion1 bimnet_tiny_flow "train_dataloader.dataset.videos=[]"
train motion2 bimnet_tiny "$VIDEOS" "load_from=$(last motion1)"
train motion3 bimnet_tiny_films "$VIDEOS" "load_from=$(last motion2)"
train deblur1 pvdnet_tiny_short "$VIDEOS" "model.motion_checkpoint=$(last motion3)"
train deblur2 pvdnet_tiny "$VIDEOS" "load_from=$(last deblur1)" train_cfg.max_iters=440 \
    optim_wrapper.optimizer.lr=6e-4 param_scheduler.0.end=10 param_scheduler.1.T_max=1111 \
    param_scheduler.1.end=1111 param_scheduler.1.eta_min=1e-5 train_dataloader.sampler.seed=7
train deblur3 pvdnet_tiny "$VIDEOS" "load_from=$(last deblur2)" train_dataloader.sampler.seed=11
python "$TOOLS/export_weights.py" pvdnet_tiny "$(last deblur3)" --degradation blur --judge "$JUDGE" \
    --trained-on "procedural scenes and $*" --command "tools/train_pvdnet_tiny.sh"

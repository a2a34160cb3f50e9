#!/usr/bin/env bash
# What adaptation to an unseen domain gains, and what sample weights and alignment contribute:
#   tools/ablate_cid.sh WORK_DIR TARGET_DIR [KEY=VALUE ...]
# cid_tiny is trained without colour casts and then adapted to TARGET_DIR, unlabelled hazy photographs with a colour cast
# (for instance hazy/*_colour_cast.png of `mmweather synth domains`). Every variant is judged on every domain. KEY=VALUE
# are options of the labelled data, such as "videos=[a.mp4]".
set -euo pipefail
WORK_DIR=$1
TARGET_DIR=$2
shift 2
TOOLS=$(dirname "$0")
MIXTURE=train_dataloader.dataset
DATA=("$MIXTURE.datasets.0.domains=[haze,low_light,noisy,sand,night]" "$MIXTURE.datasets.1.data_root=$TARGET_DIR")
for OPTION in "$@"; do
    DATA+=("$MIXTURE.datasets.0.$OPTION")
done

train() {  # NAME CONFIG [FROM]
    python "$TOOLS/train.py" "$2" --amp --resume --work-dir "$WORK_DIR/$1" --cfg-options "${DATA[@]}" \
        ${3:+"load_from=$(cat "$WORK_DIR/$3/last_checkpoint")"}
}

judge() {  # NAME
    echo "== $1"
    python "$TOOLS/judge_domains.py" cid_tiny "$(cat "$WORK_DIR/$1/last_checkpoint")" --json "$WORK_DIR/$1.json"
}

# The target must not be seen before it is adapted to.
DATA+=("$MIXTURE.weights=[1,0]")
train pretrain_short cid_tiny_pretrain_short
train pretrain cid_tiny_pretrain pretrain_short
train supervised cid_tiny_supervised pretrain
train unweighted cid_tiny_no_weighting pretrain
unset 'DATA[-1]'
train adapted cid_tiny_adapt supervised
train unaligned cid_tiny_no_alignment supervised
train untinted cid_tiny_no_tint supervised
train unadapted cid_tiny_no_adaptation supervised
for NAME in supervised unweighted adapted unaligned untinted unadapted; do
    judge "$NAME"
done

#!/usr/bin/env bash
# Train the three phases of CID, each from the one before:
#   tools/train_cid.sh NAME WORK_DIR TARGET_DIR GPUS [KEY=VALUE ...]
# NAME is cid or cid_tiny, whose first phase has two parts. TARGET_DIR is a folder of hazy photographs without clear
# versions, to which the network is adapted. GPUS is the number of processes, or 1 for a single process on whatever
# device there is. KEY=VALUE are options of the labelled data, such as images=CLEAR_DIR or "videos=[a.mp4,b.mp4]". An
# interrupted run goes on where it was.
set -euo pipefail
NAME=$1
WORK_DIR=$2
TARGET_DIR=$3
GPUS=$4
shift 4
TOOLS=$(dirname "$0")
FROM=
PHASES=(pretrain supervised adapt)
if [ "$NAME" = cid_tiny ]; then
    PHASES=(pretrain_short "${PHASES[@]}")
fi
for PHASE in "${PHASES[@]}"; do
    MIXTURE=train_dataloader.dataset
    LABELLED=$MIXTURE.datasets.0
    OPTIONS=()
    if [ "$NAME$PHASE" = cidsupervised ]; then
        LABELLED=$MIXTURE
    else
        OPTIONS+=("$MIXTURE.datasets.1.data_root=$TARGET_DIR")
    fi
    for OPTION in "$@"; do
        OPTIONS+=("$LABELLED.$OPTION")
    done
    OPTIONS+=(${FROM:+"load_from=$FROM"})
    ARGUMENTS=(--amp --resume --work-dir "$WORK_DIR/$PHASE")
    if [ "$GPUS" = 1 ]; then
        python "$TOOLS/train.py" "${NAME}_$PHASE" "${ARGUMENTS[@]}" ${OPTIONS:+--cfg-options "${OPTIONS[@]}"}
    else
        "$TOOLS/dist_train.sh" "${NAME}_$PHASE" "$GPUS" "${ARGUMENTS[@]}" ${OPTIONS:+--cfg-options "${OPTIONS[@]}"}
    fi
    FROM=$(cat "$WORK_DIR/$PHASE/last_checkpoint")
done

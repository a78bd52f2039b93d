#!/usr/bin/env bash
# Train on several GPUs of one or more machines, or on as many CPU processes.
# With MAX_RESTARTS, or NNODES=MIN:MAX, a training whose processes fail, or
# whose machines come and go, goes on from its last checkpoint.
set -euo pipefail

if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "Usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500]" \
        "[NNODES=MIN:MAX MAX_RESTARTS=0 JOB_ID=ila]" \
        "$0 CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
MAX_RESTARTS=${MAX_RESTARTS:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
PORT=${PORT:-29500}

if [[ $NNODES == *:* || $MAX_RESTARTS != 0 ]]; then
    if [[ " ${*:3}" =~ \ --r[a-z]*[\ =][^-] ]]; then
        echo "$0: a training that restarts resumes from its work directory;" \
            "give --resume no checkpoint, or leave MAX_RESTARTS out" >&2
        exit 2
    fi
    RENDEZVOUS=(--max_restarts="$MAX_RESTARTS" --rdzv_backend=c10d
        --rdzv_endpoint="$MASTER_ADDR:$PORT" --rdzv_id="${JOB_ID:-ila}")
    set -- "$@" --resume
    # PyTorch's processes would look for those of before the restart:
    # https://github.com/pytorch/pytorch/issues/135712
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
else
    RENDEZVOUS=(--node_rank="${NODE_RANK:-0}" --master_addr="$MASTER_ADDR"
        --master_port="$PORT")
fi

# The launcher hands these signals on, and waits as many seconds until the
# processes have saved.
export PET_SIGNALS_TO_HANDLE=${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}
export PET_SHUTDOWN_TIMEOUT=${PET_SHUTDOWN_TIMEOUT:-300}
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="$NNODES" \
    "${RENDEZVOUS[@]}" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"

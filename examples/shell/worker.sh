#!/bin/sh
# A worker made of the `gearman` tool and a script: one process a function, which runs job.sh for each job.
#
#     apt-get install gearman-tools
#     sh worker.sh
#
# It connects to GEARMAN_HOST and GEARMAN_PORT, which Gearpool sets for the workers that it starts, or else to localhost:4730.

set -eu

job=$(dirname "$0")/job.sh
host=${GEARMAN_HOST:-localhost}
port=${GEARMAN_PORT:-4730}

workers=
trap 'kill $workers 2>/dev/null || true' EXIT
trap 'exit 143' TERM INT

for function in reverse fail progress sleep; do
    gearman -h "$host" -p "$port" -w -f "$function" -- sh "$job" "$function" &
    workers="$workers $!"
done
wait

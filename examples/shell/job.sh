#!/bin/sh
# Does one job: the workload on standard input, the result on standard output, an exit status other than 0 for failure.
#
#     echo hello | sh job.sh reverse
#
# No Gearman library is needed for that. worker.sh runs it for each job with the `gearman` tool; Gearpool does by itself with
#
#     reverse: {run: "sh job.sh reverse", max: 4}

set -eu

case "$1" in
reverse)
    exec perl -0777 -ne 'print scalar reverse'
    ;;
fail)
    exit 1
    ;;
progress)
    for step in 1 2 3 4; do
        echo "step $step"
    done
    echo done
    ;;
sleep)
    milliseconds=$(cat)
    sleep "$((milliseconds / 1000)).$(printf %03d "$((milliseconds % 1000))")"
    echo "slept $milliseconds ms" >&2
    printf 'slept %s ms' "$milliseconds"
    ;;
*)
    echo "job.sh: no function $1" >&2
    exit 1
    ;;
esac

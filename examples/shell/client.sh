#!/bin/sh
# Submits one job with the `gearman` tool, and prints its result.
#
#     apt-get install gearman-tools
#     sh client.sh [-b] [-u UNIQUE] FUNCTION [WORKLOAD]
#
# Without WORKLOAD it is read from standard input. -b submits in the background and prints the job's handle; -u makes jobs
# with the same UNIQUE one job. Exits with 1 when the job fails. It connects to GEARMAN_HOST and GEARMAN_PORT or else to
# localhost:4730.

set -eu

host=${GEARMAN_HOST:-localhost}
port=${GEARMAN_PORT:-4730}
usage='usage: sh client.sh [-b] [-u UNIQUE] FUNCTION [WORKLOAD]'

background=
unique=
while getopts bu: option; do
    case "$option" in
    b) background=yes ;;
    u) unique=$OPTARG ;;
    *) echo "$usage" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || { echo "$usage" >&2; exit 2; }

# -v says which handle a background job got.
exec gearman -h "$host" -p "$port" ${background:+-v -b} ${unique:+-u "$unique"} -f "$@"

"""The example client once more, on the `gearman3` library (python-gearman's successor)."""

import argparse
import os
import sys

import gearman
from gearman.constants import JOB_COMPLETE

from library import Bytes


class Client(gearman.GearmanClient):
    data_encoder = Bytes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", "--background", action="store_true")
    parser.add_argument("-u", "--unique")
    parser.add_argument("function")
    arguments = parser.parse_args()

    client = Client([os.environ["GEARMAN_SERVER"]])
    request = client.submit_job(
        arguments.function,
        sys.stdin.buffer.read(),
        unique=arguments.unique,
        background=arguments.background,
        wait_until_complete=not arguments.background,
    )
    if arguments.background:
        print(request.job.handle.decode())
        return 0
    if request.status:
        print(f"progress {request.status['numerator']}/{request.status['denominator']}", file=sys.stderr)
    for data in request.data_updates:
        sys.stdout.buffer.write(data)
    if request.exception is not None:
        print("exception:", request.exception.decode(errors="replace"), file=sys.stderr)
    if request.state != JOB_COMPLETE:
        print("job failed", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(request.result)
    return 0


sys.exit(main())

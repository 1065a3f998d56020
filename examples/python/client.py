#!/usr/bin/env python3
"""Submits one job, and prints its result.

    pip install gear
    python3 client.py [-b] [-u UNIQUE] FUNCTION [WORKLOAD]

Without WORKLOAD it is read from standard input. Exits with 1 when the job fails. It connects to GEARMAN_HOST and
GEARMAN_PORT, or else to localhost:4730.
"""

import argparse
import os
import sys
import threading

import gear


class Client(gear.Client):
    """Prints what the worker sends, and says when a job has ended."""

    def __init__(self):
        super().__init__("client.py")
        self.ended = threading.Event()

    def handleWorkData(self, packet):
        super().handleWorkData(packet)
        write(packet.getArgument(1, True))

    def handleWorkStatus(self, packet):
        job = super().handleWorkStatus(packet)
        print(f"progress {job.numerator.decode()}/{job.denominator.decode()}", file=sys.stderr)

    def handleWorkComplete(self, packet):
        super().handleWorkComplete(packet)
        write(packet.getArgument(1, True))
        self.ended.set()

    def handleWorkException(self, packet):
        job = super().handleWorkException(packet)
        print("exception:", job.exception.decode(errors="replace"), file=sys.stderr)
        self.ended.set()

    def handleWorkFail(self, packet):
        super().handleWorkFail(packet)
        print("job failed", file=sys.stderr)
        self.ended.set()


def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def main():
    parser = argparse.ArgumentParser(description="Submits one job, and prints its result.")
    parser.add_argument("-b", "--background", action="store_true", help="do not wait, print the job's handle")
    parser.add_argument("-u", "--unique", help="jobs with the same one are one job")
    parser.add_argument("function")
    parser.add_argument("workload", nargs="?", help="standard input when it is not given")
    arguments = parser.parse_args()
    if arguments.workload is None:
        workload = sys.stdin.buffer.read()
    else:
        workload = arguments.workload.encode()

    client = Client()
    client.addServer(os.environ.get("GEARMAN_HOST", "localhost"), int(os.environ.get("GEARMAN_PORT", "4730")))
    client.waitForServer()
    client.setOption("exceptions")

    job = gear.Job(arguments.function, workload, arguments.unique)
    client.submitJob(job, background=arguments.background)
    if arguments.background:
        print(job.handle.decode())
        return 0
    client.ended.wait()
    return 1 if job.failure else 0


sys.exit(main())

#!/usr/bin/env python3
"""A worker with the five things that a job can do: return a result, fail, raise an exception, report progress, take time.

    pip install gear
    python3 worker.py

It connects to GEARMAN_HOST and GEARMAN_PORT, which Gearpool sets for the workers that it starts, or else to localhost:4730.
"""

import os
import time

import gear


def reverse(job):
    return job.arguments[::-1]


def fail(job):
    job.sendWorkFail()


def exception(job):
    raise RuntimeError("it went wrong")


def progress(job):
    for step in range(1, 5):
        job.sendWorkStatus(step, 4)
        job.sendWorkData(f"step {step}\n".encode())
    return b"done"


def sleep(job):
    milliseconds = int(job.arguments)
    time.sleep(milliseconds / 1000)
    print(f"slept {milliseconds} ms", flush=True)
    return f"slept {milliseconds} ms".encode()


FUNCTIONS = {function.__name__: function for function in (reverse, fail, exception, progress, sleep)}


def main():
    worker = gear.Worker("worker.py")
    worker.addServer(os.environ.get("GEARMAN_HOST", "localhost"), int(os.environ.get("GEARMAN_PORT", "4730")))
    for name in FUNCTIONS:
        worker.registerFunction(name)

    while True:
        job = worker.getJob()
        print(f"{job.name}: {len(job.arguments)} bytes", flush=True)
        try:
            result = FUNCTIONS[job.name](job)
        except Exception as error:
            job.sendWorkException(str(error).encode())
            continue
        if result is not None:
            job.sendWorkComplete(result)


main()

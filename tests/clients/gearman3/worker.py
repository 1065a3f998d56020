"""The example worker once more, on the `gearman3` library (python-gearman's successor)."""

import os
import time

import gearman

from library import Bytes


class Worker(gearman.GearmanWorker):
    data_encoder = Bytes

    def on_job_complete(self, current_job, job_result):
        if job_result is not None:
            self.send_job_complete(current_job, job_result)
        return True

    def on_job_exception(self, current_job, exc_info):
        self.send_job_exception(current_job, str(exc_info[1]).encode())
        return True


def reverse(worker, job):
    return job.data[::-1]


def fail(worker, job):
    worker.send_job_failure(job)


def exception(worker, job):
    raise RuntimeError("it went wrong")


def progress(worker, job):
    for step in range(1, 5):
        worker.send_job_status(job, step, 4)
        worker.send_job_data(job, f"step {step}\n".encode())
    return b"done"


def sleep(worker, job):
    milliseconds = int(job.data)
    time.sleep(milliseconds / 1000)
    print(f"slept {milliseconds} ms", flush=True)
    return f"slept {milliseconds} ms".encode()


def main():
    worker = Worker([os.environ["GEARMAN_SERVER"]])
    for function in (reverse, exception, progress, sleep, fail):
        worker.register_task(function.__name__.encode(), function)
    worker.work()


main()

"""A worker that says what it was given, and is stuck or dies when it is told to."""

import os
import signal
import time

import gear

worker = gear.Worker("worker.py")
worker.addServer(os.environ["GEARMAN_HOST"], int(os.environ["GEARMAN_PORT"]))
worker.registerFunction(os.environ["GEARPOOL_POOL"])
while True:
    job = worker.getJob()
    what = job.arguments.decode()
    print(f"got {what}", flush=True)
    if what == "stuck":
        time.sleep(1000)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    job.sendWorkComplete(f"did {what}".encode())

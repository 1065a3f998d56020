"""The same worker with Python's gear.

    python3 worker.py FUNCTION
"""

import os
import sys
import time

import gear


def note(text):
    file = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{text}\n".encode())
    os.close(file)


worker = gear.Worker("worker.py")
worker.addServer(os.environ["GEARMAN_HOST"], int(os.environ["GEARMAN_PORT"]))
worker.registerFunction(sys.argv[1])
while True:
    job = worker.getJob()
    number, milliseconds = job.arguments.decode().split()
    note(f"begin {number}")
    time.sleep(int(milliseconds) / 1000)
    note(f"end {number}")
    job.sendWorkComplete(number.encode())
    time.sleep(0.1)
    note(f"tail {number}")

"""Python's gear over TLS: gear_tls.py worker|client|patient PORT CA CERT KEY.

A client's job is on its standard input. The client has it backwards. The patient one's is a path, and comes back once it is there.
"""

import os
import sys
import threading
import time

import gear

role, port, ca, cert, key = sys.argv[1:]
server = ("localhost", int(port), key, cert, ca)


class Client(gear.Client):
    def __init__(self):
        super().__init__("gear over TLS")
        self.ended = threading.Event()

    def handleWorkComplete(self, packet):
        job = super().handleWorkComplete(packet)
        sys.stdout.buffer.write(b"".join(job.data))
        sys.stdout.buffer.flush()
        self.ended.set()


if role != "worker":
    client = Client()
    client.addServer(*server)
    client.waitForServer()
    function = {"client": b"backwards", "patient": b"patiently"}[role]
    client.submitJob(gear.Job(function, sys.stdin.buffer.read()))
    sys.exit(0 if client.ended.wait(30) else 1)

worker = gear.Worker("gear over TLS")
worker.addServer(*server)
worker.registerFunction("backwards")
worker.registerFunction("patiently")
while True:
    job = worker.getJob()
    if job.name == "backwards":
        job.sendWorkComplete(job.arguments[::-1])
        continue
    while not os.path.exists(job.arguments):
        time.sleep(0.01)
    job.sendWorkComplete(job.arguments)

"""Python's gear over TLS: gear_tls.py worker|client PORT CA CERT KEY. The client's job is on its standard input."""

import sys
import threading

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


if role == "client":
    client = Client()
    client.addServer(*server)
    client.waitForServer()
    client.submitJob(gear.Job(b"backwards", sys.stdin.buffer.read()))
    sys.exit(0 if client.ended.wait(30) else 1)

worker = gear.Worker("gear over TLS")
worker.addServer(*server)
worker.registerFunction("backwards")
while True:
    job = worker.getJob()
    job.sendWorkComplete(job.arguments[::-1])

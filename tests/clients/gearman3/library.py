"""The `gearman3` library as it is, but for two things without which it does not work on today's Python.

It is kept among the tests because it speaks as `python-gearman` has for fifteen years: it resets its abilities first, sleeps
before its first grab, and sends a failure after each exception.
"""

import array
import types

import gearman
import gearman.connection


class Buffer(array.array):
    """`array.fromstring` ended with Python 3.9, and a slice of a subclass is no longer one."""

    def fromstring(self, data):
        self.frombytes(data)

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return Buffer(self.typecode, found) if isinstance(key, slice) else found


gearman.connection.array = types.SimpleNamespace(array=Buffer)


class Bytes(gearman.DataEncoder):
    """Workloads and results as they are: the default insists on text and then hands over bytes."""

    @classmethod
    def encode(cls, encodable_object):
        return encodable_object

    @classmethod
    def decode(cls, decodable_string):
        return decodable_string

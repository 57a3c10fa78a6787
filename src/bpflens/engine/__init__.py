"""The embedded engine: a second kernel behind the same doors, in Python.

It follows Linux 6.18 byte for byte at the bpf(2) boundary. What it does not do: it runs no
programs, has no JIT, no devices that move packets, and its verifier is structural (see
`bpflens.engine.progs.verifier` for what that leaves out).
"""

from bpflens.engine.creds import Cap, Creds
from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task

__all__ = ["Cap", "Creds", "Engine", "Task"]

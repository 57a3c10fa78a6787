"""See everything about the BPF programs and maps of a Linux system.

::

    import bpflens

    for program in bpflens.look().programs:
        print(program.id, program.type, program.name, program.tag)

`look` takes one look and returns plain records. `open` gives the objects themselves: a `System`
whose `programs()` and `maps()` are handles over the fds that keep them alive.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing `typing` for it would double the time of `bpflens --version`
if TYPE_CHECKING:
    from bpflens.connect import look, open
    from bpflens.errors import BpflensError, Denied, NotFound, Unsupported
    from bpflens.model.map import Map
    from bpflens.model.parts import Missing, Part
    from bpflens.model.program import Program
    from bpflens.model.system import System
    from bpflens.snapshot.records import MapRecord, ProgramRecord, Snapshot

_HOMES = {
    "look": "connect",
    "open": "connect",
    "BpflensError": "errors",
    "Denied": "errors",
    "NotFound": "errors",
    "Unsupported": "errors",
    "Map": "model.map",
    "Missing": "model.parts",
    "Part": "model.parts",
    "Program": "model.program",
    "System": "model.system",
    "MapRecord": "snapshot.records",
    "ProgramRecord": "snapshot.records",
    "Snapshot": "snapshot.records",
}
"""Public name → its module. Imported when used: `bpflens --version` needs none of them."""

__all__ = [
    "BpflensError",
    "Denied",
    "Map",
    "MapRecord",
    "Missing",
    "NotFound",
    "Part",
    "Program",
    "ProgramRecord",
    "Snapshot",
    "System",
    "Unsupported",
    "__version__",
    "look",
    "open",
]


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'bpflens' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bpflens.{_HOMES[name]}"), name)

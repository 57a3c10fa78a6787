"""Who makes the calls of a story, on either side; and the kernel's types that they name."""

from __future__ import annotations

from bpflens.btf.parse import Btf
from bpflens.btf.types import Func, Typedef
from bpflens.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.linux.syscall import LinuxBpf
from bpflens.port.doors import BpfPort
from bpflens.testing.on_linux import LesserCaller
from tests.twin.steps import CALLERS, NAMED_TYPES


def linux_callers() -> list[BpfPort]:
    """This process, with the credentials of each caller around its calls."""
    port = LinuxBpf()
    return [port, *(LesserCaller(port, uid, caps) for uid, caps in CALLERS[1:])]


def engine_callers(engine: Engine, root: Task) -> list[BpfPort]:
    """`root`, and a task for each other caller with the same open files and network."""
    found: list[BpfPort] = [root]
    for uid, caps in CALLERS[1:]:
        task = engine.task(uid=uid, gid=0, caps=list(caps))
        task.files = root.files
        task.netns = root.netns
        found.append(task)
    return found


def named_types(vmlinux: bytes) -> dict[int, int]:
    """Which of `NAMED_TYPES` → its ID in the kernel's BTF, for those that there are."""
    types = Btf.parse(vmlinux)
    ids = {}
    for number, name in enumerate(NAMED_TYPES):
        found = types.find(name, Typedef if name.startswith("btf_trace_") else Func)
        if found:
            ids[number] = found.id
    return ids

"""A small believable machine, with what administrators meet.

- `balancerd` balances on eth0: an XDP program that jumps by a prog_array, typed maps, pins; the
  program that it jumps to is kept by its slot alone
- `classd` classifies on eth1, by a chain of two (tcx)
- a container has the network `blue`, where cls_bpf polices eth0, and a pin that only its own mount
  namespace shows
- `tracer` (uid 990, trusted) watches what is executed and what ends; `profilerd` samples
- a cgroup has an accountant and a guard, whose makers are gone; an old filter is only pinned;
  `deployd` loaded one program three times
- `webapp` (uid 1000) filters a socket; it closed the fd, so that only the socket holds the program

Each of them is a function in `themes`. A scene of your own begins with an `Engine`, makes tasks,
and lets them call bpf(2).
"""

from __future__ import annotations

from bpflens.engine.engine import START, Engine
from bpflens.engine.tasks import Task
from bpflens.port.doors import Clock
from bpflens.testing.scenes.themes.devices import balance, classify, contain
from bpflens.testing.scenes.themes.leftovers import account, deploy, forget, guard, leak
from bpflens.testing.scenes.themes.tracing import sample, trace

USERS = (("root", 0), ("tracer", 990), ("web", 1000))
_MICROSECOND, _HOUR = 1_000, 3_600_000_000_000


class Time:
    """The machine's clock: a microsecond later at each look, and hours when we say so."""

    def __init__(self) -> None:
        self.past = 0

    def __call__(self) -> Clock:
        self.past += _MICROSECOND
        return Clock(START.realtime + self.past, START.boottime + self.past)

    def wait(self, hours: int) -> None:
        """Hours pass."""
        self.past += hours * _HOUR


def scene() -> Task:
    """The machine, and a task of root's that looks at it."""
    time = Time()
    engine = Engine(clock=time)
    lines = (f"{name}:x:{uid}:{uid}::/:/usr/sbin/nologin\n" for name, uid in USERS)
    engine.root.file("/etc/passwd", "".join(lines).encode())
    engine.task(comm="systemd", cgroup="/init.scope")
    engine.cgroup.make_all("/web.slice/webapp.service")
    for theme in (balance, classify, trace, account, leak, contain, sample, guard, forget, deploy):
        theme(engine)
        time.wait(hours=5)
    return engine.task(comm="bpflens", cgroup="/user.slice")

"""Who may do what: credentials, and the two policies.

`owner` is the rule of the mail of 2017 that the ID scheme comes from: an object is open by its ID
to the user who made it, and to root. `linux` is what was shipped: capabilities.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpflens.engine.release import Release


class Cap(IntEnum):
    """What bpf(2) and its file system ask for (include/uapi/linux/capability.h)."""

    DAC_OVERRIDE = 1
    FOWNER = 3
    NET_ADMIN = 12
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_RESOURCE = 24
    SYSLOG = 34
    PERFMON = 38
    BPF = 39


ALL_CAPS = (1 << 41) - 1
"""CAP_CHECKPOINT_RESTORE (40) is the last one."""


class UserNs:
    """A user namespace. The first one has no object: it is None."""

    __slots__ = ("owner", "parent")

    def __init__(self, owner: int, parent: UserNs | None = None) -> None:
        self.owner = owner
        """The user who made it, who has all capabilities in it from outside."""
        self.parent = parent


class Creds:
    """Credentials of a task, and of a file: those of the task that opened it."""

    __slots__ = ("caps", "gid", "uid", "userns")

    def __init__(
        self, uid: int = 0, gid: int = 0, caps: Iterable[int] | None = None,
        userns: UserNs | None = None,
    ) -> None:  # fmt: skip
        """`caps` None means all for root, none for others; they count in `userns`."""
        self.userns = userns
        self.uid = uid
        self.gid = gid
        if caps is None:
            self.caps = ALL_CAPS if uid == 0 else 0
        else:
            self.caps = sum({1 << cap for cap in caps})

    def has(self, cap: int) -> bool:
        """Whether the capability is in the effective set, and counts everywhere: capable()."""
        return self.userns is None and bool(self.caps >> cap & 1)

    def has_in(self, userns: UserNs | None, cap: int) -> bool:
        """Whether it counts in this user namespace: cap_capable()."""
        while userns is not self.userns:
            if userns is None:
                return False
            if userns.parent is self.userns and userns.owner == self.uid:
                return True
            userns = userns.parent
        return bool(self.caps >> cap & 1)


class Owned(Protocol):
    """What a policy needs to know of an object."""

    uid: int


class Policy(Protocol):
    """The questions that the engine asks before it does something."""

    def capable(self, creds: Creds, cap: int, userns: UserNs | None = None) -> bool:
        """Whether making and attaching things that need `cap` is allowed; `userns` is where a
        token lets it count."""
        ...

    def may_walk(self, creds: Creds) -> bool:
        """Whether the IDs may be listed."""
        ...

    def may_open(self, creds: Creds, obj: Owned | None) -> bool:
        """Whether the object with this ID (None: there is none) may be opened."""
        ...

    def may_look(self, creds: Creds, uid: int) -> bool:
        """Whether a task of `uid` may be looked into (TASK_FD_QUERY)."""
        ...

    def needs_to_read_all(self, creds: Creds) -> str:
        """What this caller lacks to read what all tasks have open and cgroups have attached."""
        ...

    def sees_all(self, creds: Creds, obj: Owned) -> bool:
        """Whether a holder of a program's fd is told all of it."""
        ...

    def sees_raw(self, opener: Creds, obj: Owned) -> bool:
        """Whether instructions may show kernel addresses to one who opened the file."""
        ...


class LinuxPolicy:
    """Capabilities, as shipped; sysctl kernel.unprivileged_bpf_disabled is 1 or 2."""

    def __init__(self, release: Release) -> None:
        self._sys_admin_for_net = release.sys_admin_for_net

    def capable(self, creds: Creds, cap: int, userns: UserNs | None = None) -> bool:
        if cap == Cap.NET_ADMIN and not self._sys_admin_for_net:
            return creds.has(cap)
        # bpf_token_capable(), perfmon_capable(), and bpf_net_capable() accept CAP_SYS_ADMIN too.
        return creds.has_in(userns, cap) or creds.has_in(userns, Cap.SYS_ADMIN)

    def may_walk(self, creds: Creds) -> bool:
        return creds.has(Cap.SYS_ADMIN)

    def may_open(self, creds: Creds, obj: Owned | None) -> bool:
        return creds.has(Cap.SYS_ADMIN)

    def may_look(self, creds: Creds, uid: int) -> bool:
        return creds.has(Cap.SYS_ADMIN)

    def needs_to_read_all(self, creds: Creds) -> str:
        # an iterator is a tracing program: is_perfmon_prog_type()
        if self.capable(creds, Cap.BPF) and self.capable(creds, Cap.PERFMON):
            return ""
        return "CAP_BPF and CAP_PERFMON"

    def sees_all(self, creds: Creds, obj: Owned) -> bool:
        return self.capable(creds, Cap.BPF)

    def sees_raw(self, opener: Creds, obj: Owned) -> bool:
        return opener.has(Cap.SYSLOG)  # kallsyms_show_value() with kptr_restrict 1


class OwnerPolicy:
    """The mail: anyone makes objects and lists IDs; the same user, or root, opens them."""

    def __init__(self, release: Release) -> None:
        pass

    def capable(self, creds: Creds, cap: int, userns: UserNs | None = None) -> bool:
        return True

    def may_walk(self, creds: Creds) -> bool:
        return True

    def may_open(self, creds: Creds, obj: Owned | None) -> bool:
        return obj is None or creds.uid in (0, obj.uid)

    def may_look(self, creds: Creds, uid: int) -> bool:
        return creds.uid in (0, uid)

    def needs_to_read_all(self, creds: Creds) -> str:
        return "root" if creds.uid else ""

    def sees_all(self, creds: Creds, obj: Owned) -> bool:
        return creds.uid in (0, obj.uid)

    def sees_raw(self, opener: Creds, obj: Owned) -> bool:
        return opener.uid in (0, obj.uid)


POLICIES: dict[str, type[LinuxPolicy] | type[OwnerPolicy]] = {
    "owner": OwnerPolicy,
    "linux": LinuxPolicy,
}

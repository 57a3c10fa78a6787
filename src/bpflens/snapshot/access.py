"""What this caller can see on this kernel, what stands in the way, and what would remove it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bpflens.abi.enums import ProgType
from bpflens.attach.places import Places
from bpflens.errors import BpflensError, Denied
from bpflens.model import pins
from bpflens.model.system import BTF, ID_MAX, LINK, MAP, PROGRAM, System
from bpflens.port.calls import CallUnsupported
from bpflens.snapshot.records import ErrorRecord
from bpflens.snapshot.relations import Relations
from bpflens.snapshot.take import release

CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""Those that decide what can be seen (include/uapi/linux/capability.h)."""


class Check(NamedTuple):
    """One finding: `ok` is None where it could not be found out."""

    check: str
    ok: bool | None
    found: str
    remedy: str | None
    missing: dict[str, str]


class _Caller(NamedTuple):
    """Who asks, from /proc/self/status."""

    uid: str
    capabilities: frozenset[str]
    initial_userns: bool
    seccomp: bool


def examine(system: System) -> list[Check]:
    """Every check, in the order in which one would look. Never raises for what it finds."""
    caller = _caller(system)
    return [
        _check("kernel", True, f"Linux {release(system)}" if release(system) else "?"),
        _identity(caller),
        *_ids(system, caller),
        _memory(system),
        _instructions(system, caller),
        _statistics(system),
        _kernel_btf(system),
        *_host(system, caller),
        _unprivileged(system),
        *_lockdown(system),
    ]


def _check(name: str, ok: bool | None, found: str, remedy: str | None = None) -> Check:
    return Check(name, ok, found, remedy, {})


def _read(system: System, path: str) -> str | None:
    try:
        return system.host.read(path).decode(errors="replace").strip()
    except OSError:
        return None


def _caller(system: System) -> _Caller:
    status = _read(system, "/proc/self/status") or ""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    try:
        mask = int(lines.get("CapEff", "0").strip(), 16)
    except ValueError:
        mask = 0
    held = frozenset(name for name, bit in CAPABILITIES.items() if mask >> bit & 1)
    uid = (lines.get("Uid", "").split() or ["?"])[1:2] or ["?"]
    mapping = (_read(system, "/proc/self/uid_map") or "").split()
    whole = mapping == ["0", "0", "4294967295"]
    return _Caller(uid[0], held, whole or not mapping, lines.get("Seccomp", "0").strip() == "2")


def _identity(caller: _Caller) -> Check:
    held = ", ".join(sorted(caller.capabilities)) or "none that matters here"
    where = "" if caller.initial_userns else " (of a user namespace: they do not count for IDs)"
    return _check("caller", True, f"uid {caller.uid}; capabilities: {held}{where}")


def _ids(system: System, caller: _Caller) -> Iterator[Check]:
    """IDs of each kind, found out by asking for the last one, which costs nothing."""
    for kind in (PROGRAM, MAP, LINK, BTF):
        name = f"list {kind.noun}s"
        try:
            system.calls.next_id(kind.next_id, ID_MAX)
        except CallUnsupported:
            yield _check(
                name, False, "this kernel has no bpf(2)", "a kernel with CONFIG_BPF_SYSCALL"
            )
        except Denied:
            yield _check(name, False, "not permitted", _how_to_list(caller))
        except BpflensError as error:
            yield _check(name, False, str(error), f"a kernel that knows {kind.next_id.name}")
        else:
            yield _check(name, True, "permitted")


def _how_to_list(caller: _Caller) -> str:
    if not caller.initial_userns:
        return "run it in the initial user namespace (outside the container), as root"
    if "CAP_SYS_ADMIN" not in caller.capabilities:
        return "CAP_SYS_ADMIN: run it as root (sudo bpflens ...)"
    if caller.seccomp:
        return "a seccomp filter refuses bpf(2): run it outside the container or sandbox"
    return "a security module refuses bpf(2): look into its log"


def _memory(system: System) -> Check:
    found = _read(system, "/proc/self/fdinfo/0")
    if found is None:
        return _check("memory and frozen state", False, "no /proc/self/fdinfo", _MOUNT_PROC)
    return _check("memory and frozen state", True, "from /proc/self/fdinfo")


_MOUNT_PROC = "mount -t proc proc /proc"


def _instructions(system: System, caller: _Caller) -> Check:
    """kallsyms_show_value() in kernel/ksyms_common.c decides, for the opener of the fd."""
    name = "instructions and machine code"
    restrict = _read(system, "/proc/sys/kernel/kptr_restrict")
    paranoid = _read(system, "/proc/sys/kernel/perf_event_paranoid")
    if not caller.capabilities & {"CAP_BPF", "CAP_SYS_ADMIN"}:
        return _check(name, False, "hidden without CAP_BPF", "CAP_BPF, or run it as root")
    if restrict == "2":
        return _check(
            name, False, "kernel.kptr_restrict is 2: no machine code, calls without addresses",
            "sysctl kernel.kptr_restrict=1",
        )  # fmt: skip
    open_to_all = (
        restrict == "0" and (paranoid or "2").lstrip("-").isdigit() and (int(paranoid or "2") <= 1)
    )
    if "CAP_SYSLOG" in caller.capabilities or open_to_all:
        return _check(name, True, f"permitted (kernel.kptr_restrict is {restrict or '?'})")
    return _check(name, False, "no machine code, calls without addresses", "CAP_SYSLOG")


def _statistics(system: System) -> Check:
    value = _read(system, "/proc/sys/kernel/bpf_stats_enabled")
    if value is None:
        return _check("run statistics", None, "kernel.bpf_stats_enabled cannot be read")
    if value == "1":
        return _check("run statistics", True, "every run of every program is counted")
    return _check(
        "run statistics", False, "off: run time and run count stand still",
        "sysctl kernel.bpf_stats_enabled=1 (costs some 20 ns a run)",
    )  # fmt: skip


def _kernel_btf(system: System) -> Check:
    try:
        names = [name for name, _ in system.host.listdir("/sys/kernel/btf")]
    except OSError:
        names = []
    if "vmlinux" in names:
        return _check("kernel types (BTF)", True, f"/sys/kernel/btf: {len(names)} files")
    return _check(
        "kernel types (BTF)", False, "no /sys/kernel/btf/vmlinux",
        "a kernel with CONFIG_DEBUG_INFO_BTF (Linux 5.4), and sysfs mounted",
    )  # fmt: skip


# --- what the commands see of the host: what they could not look at is asked of them, not judged


class _Everywhere(Places):
    """The places of a host, looked at as if programs of every type were loaded: a place that holds
    nothing now is to be judged too."""

    def loaded(self, *types: ProgType) -> bool:
        return True


def _host(system: System, caller: _Caller) -> Iterator[Check]:
    """What attachments and holders rest on: files, namespaces, pins, links, cgroups, contents."""
    try:
        told = Relations(system, at=_Everywhere(system))
        _ = told.places.own_netns  # without /proc nothing can be found out
        unseen, bulk = _unseen(told), told.places.files.bulk
    except (BpflensError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        for name in ABOUT:
            yield _check(name, None, f"cannot be found out: {why}", _MOUNT_PROC)
        return
    for name, words in ABOUT.items():
        if not unseen[name]:
            yield _check(name, True, _bpffs(system) if name == "pins" else words)
        else:
            by_bulk = bulk is not None and name in ("open files", "attachments")
            remedy = _remedy(caller, unseen[name], _BY_ITERATOR if by_bulk else "")
            guard = "" if remedy else ", also from these capabilities (a security module?)"
            yield _check(name, False, _few(unseen[name]) + guard, remedy)


ABOUT = {
    "open files": "of all processes, with the programs of sockets",
    "namespaces": "all can be entered",
    "pins": "all can be looked at",
    "links": "all can be looked at",
    "cgroups": "all can be looked at",
    "attachments": "of every kind can be seen",
    "contents": "of programs and maps can be read",
}
"""What is asked about the host, and what is said where nothing is hidden."""


def _unseen(told: Relations) -> dict[str, list[str]]:
    """What `why`, `orphans`, `attach list` and `overview` say that they could not look at, each
    with its reason, by what it is about."""
    found: dict[str, list[str]] = {name: [] for name in ABOUT}
    held = set(told.holders.errors)
    for source, unseen in told.holders.by_source.items():
        # What this kernel does not tell at all is no error of a command, and has to be known.
        if source != "attachments":
            name = "open files" if source == "files" else source
            found[name] += (f"{each.what}: {each.reason}" for each in unseen)
    for error in told.errors:
        if error in held:
            continue
        words = " ".join(str(part) for part in (error.kind, error.id, error.path) if part)
        found[_about(error)].append(f"{words}: {error.error}")
    return {name: list(dict.fromkeys(each)) for name, each in found.items()}


def _about(error: ErrorRecord) -> str:
    match error.kind:
        case "network" | "netns":
            return "namespaces"
        case "pin":
            return "pins"
        case "link" | "links":
            return "links"
        case "cgroup":
            return "cgroups"
        case "program" | "map" | "BTF object" | "objects":
            return "contents"
    return "namespaces" if (error.path or "").startswith("netns ") else "attachments"


_FEW = 3


def _few(words: list[str]) -> str:
    more = f" (and {len(words) - _FEW} more)" if len(words) > _FEW else ""
    return "; ".join(words[:_FEW]) + more


def _remedy(caller: _Caller, unseen: list[str], otherwise: str) -> str | None:
    """What would show it: of the causes that are known, the one that has to go first."""
    words = " ".join(unseen)
    for part, remedy in _BY_CAUSE.items():
        if part in words:
            return remedy
    if not caller.initial_userns:
        return "run it in the first user namespace (outside the container), as root"
    lacking = sorted(_TO_SEE - caller.capabilities)
    if lacking:
        return f"{' and '.join(lacking)}: run it as root"
    if caller.seccomp:
        return "a seccomp filter may refuse it: run it outside the container or sandbox"
    return otherwise or None  # ptrace_may_access() also asks the security modules


_TO_SEE = {"CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_NET_ADMIN"}
_BY_CAUSE = {
    "outside of our PID namespace": "run it in the first PID namespace (nsenter --target 1 --pid "
    "--mount; docker run --pid=host)",
    "(hidepid)": "CAP_SYS_PTRACE, or mount -o remount,hidepid=0 /proc",
    "(subset=pid)": "mount -t proc proc /proc, which shows all",
    "/proc does not show": "mount -t proc proc /proc, in this PID namespace",
    "no cgroup2 is mounted": "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
}
"""Words of a reason → what removes it."""


def _bpffs(system: System) -> str:
    mounts = [mount.path for mount in pins.mounts(system)]
    return f"bpffs at {', '.join(mounts)}" if mounts else "no bpffs is mounted here"


_BY_ITERATOR = "CAP_BPF and CAP_PERFMON, on a kernel with iterators and BTF (Linux 5.8)"


def _unprivileged(system: System) -> Check:
    value = _read(system, "/proc/sys/kernel/unprivileged_bpf_disabled")
    meaning = {
        "0": "users without capabilities may load some programs and maps",
        "1": "only CAP_BPF may load, until the next boot",
        "2": "only CAP_BPF may load",
    }
    found = meaning.get(value or "", "cannot be read")
    return _check(
        "loading by other users", None if value not in meaning else value != "0",
        f"kernel.unprivileged_bpf_disabled is {value or '?'}: {found}",
        "sysctl kernel.unprivileged_bpf_disabled=2" if value == "0" else None,
    )  # fmt: skip


def _lockdown(system: System) -> Iterator[Check]:
    value = _read(system, "/sys/kernel/security/lockdown")
    if value is None:
        return
    mode = value.partition("[")[2].partition("]")[0] or value
    yield _check(
        "lockdown", mode != "confidentiality", mode,
        "boot without lockdown=confidentiality: it hides kernel memory from programs"
        if mode == "confidentiality" else None,
    )  # fmt: skip


def guidance(system: System, error: Denied) -> str:
    """What would help against a refusal, for this caller."""
    if error.needs != "CAP_SYS_ADMIN":
        return f"needs {error.needs}" if error.needs else ""
    return f"needs {_how_to_list(_caller(system))}"

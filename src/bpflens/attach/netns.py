"""Programs of a network namespace itself (flow_dissector, sk_lookup), by PROG_QUERY."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.attach.networks import ABSENT, Visit
from bpflens.attach.record import Attachment, Failure, failure
from bpflens.errors import SyscallError
from bpflens.port.query import prog_query

TYPES = (ProgType.FLOW_DISSECTOR, ProgType.SK_LOOKUP)

_HOOKS = (AttachType.FLOW_DISSECTOR, AttachType.SK_LOOKUP)


def look(visit: Visit) -> Iterator[Attachment | Failure]:
    """The programs of a network namespace. Since: 4.20 (sk_lookup: 5.9)."""
    fd = visit.system.host.open("/proc/thread-self/ns/net")
    try:
        for hook in _HOOKS:
            try:
                told = prog_query(visit.system.calls, fd, hook).progs
            except SyscallError as error:
                if error.errno not in ABSENT:
                    yield failure(hook.label, visit.netns.words, error)
                continue
            yield from _attachments(visit, hook, told)
    finally:
        visit.system.calls.close(fd)


def _attachments(visit: Visit, hook: AttachType, told: list[int]) -> Iterator[Attachment]:
    # Several links of one program run in the order in which they were made.
    links = [
        link
        for link in (visit.places.links if told else ())
        if link.type is LinkType.NETNS
        and (link.netns_ino, link.attach_type) == (visit.netns.inode, hook)
    ]
    only = hook is AttachType.FLOW_DISSECTOR
    for turn, prog_id in enumerate(told):
        link = next((link for link in links if link.prog_id == prog_id), None)
        if link:
            links.remove(link)
        yield Attachment(
            prog_id, hook.label, visit.netns.words, None if only else turn, [], "prog_query",
            link.id if link else None, hook.label, None, None, {},
        )  # fmt: skip

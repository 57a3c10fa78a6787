"""Programs at netfilter's hooks, by nfnetlink."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    HOOK_BPF_ID,
    HOOK_TYPE_BPF,
    NETLINK_NETFILTER,
    NFGENMSG,
    HookAttr,
    HookInfo,
    attributes,
    get_hooks,
)
from bpflens.attach.networks import ABSENT, Linked, Visit
from bpflens.attach.record import Attachment

TYPES = (ProgType.NETFILTER,)

_FAMILIES = {2: "ipv4", 10: "ipv6"}
"""NFPROTO_IPV4, NFPROTO_IPV6: those that take programs."""
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
"""enum nf_inet_hooks."""


def words(family: int, hook: int) -> str:
    """A hook in words: `ipv4 input`."""
    name = _HOOKS[hook] if hook < len(_HOOKS) else f"hook {hook}"
    return f"{_FAMILIES.get(family, f'family {family}')} {name}"


def look(visit: Visit) -> Iterator[Linked]:
    """The programs at the hooks of a network namespace.

    A kernel without CONFIG_NETFILTER_NETLINK_HOOK does not tell; there it is not known which
    namespace a netfilter link is in. Since: 6.4.
    """
    for family in _FAMILIES:
        for hook in range(len(_HOOKS)):
            try:
                messages = visit.dump(get_hooks(family, hook), NETLINK_NETFILTER)
            except OSError as error:
                if error.errno in ABSENT:
                    return
                raise
            yield from _attachments(visit, family, hook, messages)


def _attachments(visit: Visit, family: int, hook: int, messages: list[bytes]) -> Iterator[Linked]:
    turn = 0
    for message in messages:  # by priority
        told = attributes(message[NFGENMSG.size :])
        info = attributes(told.get(HookAttr.CHAIN_INFO, b""))
        if int.from_bytes(info.get(HookInfo.TYPE, b""), "big") != HOOK_TYPE_BPF:
            continue
        told_id = attributes(info.get(HookInfo.DESC, b"")).get(HOOK_BPF_ID, b"")
        prog_id = int.from_bytes(told_id, "big")
        priority = int.from_bytes(told.get(HookAttr.PRIORITY, b""), "big", signed=True)
        found = Attachment(
            prog_id, "netfilter", visit.netns.words, turn, [f"priority {priority}"], "netlink",
            None, words(family, hook), None, None, {},
        )  # fmt: skip
        turn += 1
        yield Linked(found, ("netfilter", family, hook, priority, prog_id))

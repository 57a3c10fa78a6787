"""Pairs of network devices: when one end goes, so does the other, wherever that is."""

from __future__ import annotations

from collections.abc import Mapping

from bpflens.attach.networks import Device

KINDS = ("veth", "netkit")
"""veth_dellink(), netkit_del_link(): also when a namespace ends (default_device_exit_batch())."""

Key = tuple[int, int]
"""The inode number of a network namespace, and the index of a device there."""


def pairs(devices: Mapping[Key, Device]) -> dict[str, str]:
    """The names of devices and of their other ends.

    Of an end in another namespace only the index is told: it is the one that tells the same of this
    one, if there is no other such.
    """
    by_ends: dict[tuple[str, int, int, bool], list[tuple[int, str]]] = {}
    for (netns, index), each in devices.items():
        if each.kind in KINDS and each.link:
            ends = (each.kind, index, each.link, each.abroad)
            by_ends.setdefault(ends, []).append((netns, each.name))
    found: dict[str, str] = {}
    for (kind, index, link, abroad), ones in by_ends.items():
        others = by_ends.get((kind, link, index, abroad), [])
        for netns, name in ones:
            fitting = [other for where, other in others if (where != netns) is abroad]
            if len(fitting) == 1:
                found[name] = fitting[0]
    return found

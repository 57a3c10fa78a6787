"""Every module that answers a command or knows a kind of map or link."""

from bpflens.engine import bpffs, btfs, info, misc, objects, testrun, tokens
from bpflens.engine.links import (
    cgroup,
    commands,
    netns,
    prog_attach,
    query,
    sockmap,
    tcx,
    tracing,
    xdp,
)
from bpflens.engine.maps import (
    array,
    batch,
    create,
    elements,
    hash,
    keyless,
    lpm,
    nested,
    other,
    redirect,
    sockets,
    struct_ops,
)
from bpflens.engine.progs import load

FAMILIES = (
    array, batch, bpffs, btfs, cgroup, commands, create, elements, hash, info, keyless, load, lpm,
    misc, nested, netns, objects, other, prog_attach, query, redirect, sockets, sockmap,
    struct_ops, tcx, testrun, tokens, tracing, xdp,
)  # fmt: skip
"""Imported so that they register what they have."""

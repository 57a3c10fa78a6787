"""Every module that answers a command or knows a kind of map or link."""

from bpflens.engine import bpffs, btfs, info, misc, objects
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
)
from bpflens.engine.progs import load

FAMILIES = (
    array, batch, bpffs, btfs, create, elements, hash, info, keyless, load, lpm,
    misc, nested, objects, other, redirect, sockets,
)  # fmt: skip
"""Imported so that they register what they have."""

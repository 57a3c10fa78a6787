"""Programs at infrared receivers, by PROG_QUERY."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.abi.enums import AttachType, ProgType
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure, failure
from bpflens.errors import BpflensError
from bpflens.port.query import prog_query


def find(places: Places) -> Iterator[Attachment | Failure]:
    """The programs at every /dev/lirc*. Since: 4.18."""
    if not places.loaded(ProgType.LIRC_MODE2):
        return
    for name, _ in places.host.listdir("/dev"):
        if name.startswith("lirc"):
            try:
                yield from _at(places, f"/dev/{name}")
            except FileNotFoundError:
                continue  # unplugged
            except (BpflensError, OSError) as error:
                yield failure("lirc", f"/dev/{name}", error)


def _at(places: Places, path: str) -> Iterator[Attachment]:
    fd = places.host.open(path)
    try:
        told = prog_query(places.system.calls, fd, AttachType.LIRC_MODE2)
    finally:
        places.system.calls.close(fd)
    for turn, prog_id in enumerate(told.progs):
        yield Attachment(
            prog_id, "lirc", path, turn, [], "prog_query", None, AttachType.LIRC_MODE2.label,
            None, None, {},
        )  # fmt: skip

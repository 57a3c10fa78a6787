"""All that is attached: every finder, and their answers as one list."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure, failure
from bpflens.errors import BpflensError

FINDERS = ("networks", "lirc", "cgroup", "perf", "slots", "sockets", "links")
"""The modules of this package that have a `find(places)`, in the order of the list. Links come
last: what the finder of a hook knows of a link says more than the link's own info."""


def find(places: Places) -> Iterator[Attachment | Failure]:
    """Every attachment of the host, and what could not be looked at.

    An attachment that two finders tell of by its link comes once.
    """
    for name in FINDERS:
        finder = importlib.import_module(f"bpflens.attach.{name}")
        try:
            for found in finder.find(places):
                if isinstance(found, Attachment) and found.link_id is not None:
                    if name == "links" and found.link_id in places.told:
                        continue
                    places.told.add(found.link_id)
                yield found
        except (BpflensError, OSError) as error:
            yield failure(name, str(getattr(error, "filename", None) or ""), error)

"""The second loop of the mail of 2017: from an interface to the tag of the program on it.

    python examples/xdp_tag.py DEVICE

Netlink gives the program's ID, the ID gives an fd, the fd gives what the kernel knows.
"""

import sys

import bpflens
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment


def main(device: str) -> int:
    with bpflens.open() as system:
        for found in find(Places(system)):
            if isinstance(found, Attachment) and (found.kind, found.target) == ("xdp", device):
                with system.program(found.prog_id or 0) as program:
                    told = f"program {program.id}, tag {program.tag}"
                print(f"{device}: {found.attach_type} {told}")
                return 0
    print(f"{device}: no XDP program")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

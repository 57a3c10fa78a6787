"""The first loop of the mail of 2017: walk all programs and print their instructions.

    python examples/walk_programs.py [KERNEL]

KERNEL is `linux` (the default; needs CAP_SYS_ADMIN) or the path of a recording.
"""

import sys

import bpflens
from bpflens.insn import decode
from bpflens.insn.listing import lines, rows


def main(on: str = "linux") -> None:
    with bpflens.open(on) as system:
        for program in system.programs():
            with program:
                print(f"{program.id}: {program.name or '(no name)'} tag {program.tag}")
                for line in lines(rows(decode(program.xlated()))):
                    print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])

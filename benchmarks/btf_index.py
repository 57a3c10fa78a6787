"""How long a process takes to index the kernel's BTF and find one type, beside other tools.

    python benchmarks/btf_index.py [RUNS]

Times are those of whole processes, start to end, the smallest and the median of RUNS; memory is the
largest resident set of any run. The goals, whole processes: cold 250 ms, warm 30 ms.

The library alone comes first, then the command: beside `bpflens btf list`, which starts as much and
reads no types, `btf dump vmlinux --type in_addr` without an index (`/dev/null` can keep none) and
with one. Last, all types as text, as bpftool lists them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

VMLINUX = "/sys/kernel/btf/vmlinux"

READ = f"data = open({VMLINUX!r}, 'rb', buffering=0).read()"
# From 6.16 on the file can be mapped, which saves 1,300 calls of read(2), of a page each.
MAP = f"""
import mmap, os
fd = os.open({VMLINUX!r}, os.O_RDONLY)
data = memoryview(mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
"""
COLD = """
from bpflens.btf import Btf
btf = Btf.parse(data)
"""
WARM = """
from bpflens.btf.cache import load
btf = load(data, {directory!r})
"""
LOOK = """
from bpflens.btf.types import Struct
assert btf.find("task_struct", Struct)
"""


def measure(command: list[str], runs: int) -> tuple[float, float, int]:
    """The smallest and the median time in seconds, and the largest resident set in KiB."""
    times: list[float] = []
    memory = 0
    for _ in range(runs):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        times.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        memory = max(memory, usage.ru_maxrss)
    return min(times), statistics.median(times), memory


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    if not os.path.exists(VMLINUX):
        raise SystemExit(f"this kernel has no {VMLINUX}")
    with tempfile.TemporaryDirectory() as directory:
        python = [sys.executable, "-c"]
        warm = WARM.format(directory=directory)
        ways = {
            "python -c pass": [*python, "pass"],
            "bpflens, no index yet": [*python, READ + COLD + LOOK],
            "bpflens, index kept": [*python, READ + warm + LOOK],
            "bpflens, index kept, file mapped": [*python, MAP + warm + LOOK],
        }
        command = [sys.executable, "-m", "bpflens", "btf"]
        one = [*command, "dump", "vmlinux", "--type", "in_addr"]
        ways |= {
            "bpflens btf list": [*command, "list", "--parts", "basic"],
            "bpflens btf dump --type, no index yet": ["env", "XDG_CACHE_HOME=/dev/null", *one],
            "bpflens btf dump --type, index kept": ["env", f"XDG_CACHE_HOME={directory}", *one],
            "bpflens btf dump --format raw": [*command, "dump", "vmlinux", "--format", "raw"],
        }
        others = {
            "bpftool": ["btf", "dump", "file", VMLINUX, "format", "raw"],
            "pahole": ["-C", "task_struct", VMLINUX],
        }
        for tool, arguments in others.items():
            path = shutil.which(tool)
            if path:
                ways[f"{tool} {' '.join(arguments)}"] = [path, *arguments]
        subprocess.run(ways["bpflens, index kept"], check=True)
        print(f"{'smallest':>9} {'median':>9} {'memory':>9}")
        for name, command in ways.items():
            if subprocess.run(command, capture_output=True).returncode:
                print(f"{'not offered here':>31}  {name}")
                continue
            least, middle, memory = measure(command, runs)
            print(f"{1e3 * least:6.1f} ms {1e3 * middle:6.1f} ms {memory / 1024:5.0f} MiB  {name}")


if __name__ == "__main__":
    main()

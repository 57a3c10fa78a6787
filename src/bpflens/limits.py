"""Every limit: a bound of ours at which a read of the host, of the kernel or of a file stops short.

What is hostile or very large must not take all memory or time, and what was left out must be told:
where a limit is reached, `errors` has it, `complete` is false, the exit status is 1, and whatever
rests on that read is uncertain. A file that goes beyond one is refused.

Not here are the kernel's own bounds (BPF_OBJ_NAME_LEN, the largest ID), sizes of what is displayed,
facts of a format, and bounds behind which the same is read in another way: nothing is lost there.
`tests/unit/limits` lists those, each with its reason, and fails at a bound that is in neither.
"""

from __future__ import annotations


class Limit:
    """One bound. `value` is read where it holds, never copied: who sets it changes what happens."""

    __slots__ = ("bounds", "said", "value")

    def __init__(self, value: int, bounds: str, said: str) -> None:
        self.value = value
        self.bounds = bounds
        """What there may be so many of."""
        self.said = said
        """What is said when it is reached; `{}` is the value."""

    def __str__(self) -> str:
        return self.said.format(self.value)


# --- pins, mounts and namespaces, which other users can make

PINS = Limit(200_000, "files of one bpffs", "there are more than {} files: the rest was not read")
PIN_NAMES = Limit(
    1_000_000,
    "names of one bpffs, also of directories and symbolic links",
    "there are more than {} names: the rest was not read",
)
MOUNTINFO_BYTES = Limit(
    64 << 20,
    "bytes of one mountinfo file: an unprivileged user may have 100,000 mounts (fs.mount-max) with "
    "paths of 4 KiB in a mount namespace of his own",
    "it has more than {} bytes",
)
MOUNTINFOS_BYTES = Limit(
    256 << 20, "bytes of all mountinfo files of one look", "all of them have more than {} bytes"
)
FOREIGN_SECONDS = Limit(
    2,
    "seconds for all paths in mount namespaces that are not in the dentry cache",
    "the file systems on the way to such paths did not answer in {} seconds",
)

# --- what changes while it is read

PIN_TRIES = Limit(
    4,
    "reads of a directory of a bpffs from which names vanish",
    "names vanished in each of {} looks",
)
NETLINK_TRIES = Limit(
    5, "dumps of a table of the network", "the table changed during each of {} dumps"
)
GROWTHS = Limit(
    16,
    "reads of an array of the kernel, each into as much room as it then needed",
    "it was longer at each of {} looks",
)
SPARE_STEPS = Limit(
    1024,
    "steps of a walk over a map beyond four for each element that it can hold",
    "the map changes faster than it can be read: {} steps more than four an element",
)

# --- what is large

ARRAY_BYTES = Limit(
    256 << 20, "bytes of one array of a program, or of one BTF object", "longer than {} bytes"
)
BUCKET_BYTES = Limit(
    256 << 20,
    "bytes of keys and values of one batch",
    "a bucket of the map needs more than {} bytes",
)
SLOTS = Limit(
    1 << 16, "slots of one map in which programs are looked for", "limited to {} elements"
)
SLOT_SECONDS = Limit(
    2,
    "seconds for the slots of one map in which programs are looked for",
    "the time allowed for it, {} seconds, was over",
)

# --- searches through what was read

CHAINS = Limit(
    200, "ways from a root to an object, and paths of a graph", "there are more than {} ways to it"
)
CHAIN_STEPS = Limit(
    20_000, "steps of one search for such ways", "a search for all ways takes more than {} steps"
)
WAYS = Limit(
    64, "sets of references that would free an object", "there are more than {} ways to free it"
)
PAIRS = Limit(
    4_000_000,
    "equal instructions of two programs that are compared, for about two seconds",
    "the two programs have more than {} pairs of equal instructions",
)
LOOP_BLOCKS = Limit(
    200_000,
    "blocks of all loop bodies of a program",
    "the loops have more than {} blocks: the bodies of some are left out",
)

# --- values and types

SOURCE_BYTES = Limit(
    4096, "bytes of one source line in BTF", "a source line is longer than {} bytes, and cut"
)
VALUE_DEPTH = Limit(32, "levels of a value", "value nests more than {} deep")
VALUE_PARTS = Limit(1 << 16, "parts of a value", "value has too many parts (more than {})")
VALUE_BYTES = Limit(1 << 24, "bytes of a value", "value of more than {} bytes")
EMPTY_ELEMENTS = Limit(
    256,
    "elements without a byte in an array of a value",
    "value has too many parts (more than {} without a byte)",
)

# --- files: what goes beyond is refused

BTF_SECTION_BYTES = Limit(
    1 << 26, "bytes of a section of BTF; the kernel takes 16 MiB in all", "more than {} bytes"
)
BTF_NAME_BYTES = Limit(
    4096,
    "bytes of a name in BTF (the kernel takes 512): names may share their tails, so that without a "
    "limit a small file could ask for any memory",
    "name of more than {} bytes",
)
BTF_DEPTH = Limit(64, "levels of types in BTF; the kernel takes 32", "nests more than {} deep")
BTF_NEEDS = Limit(
    200,
    "types, each of which needs the next one to be declared; the longest chain of a kernel has 40",
    "needs too many others (more than {}, each because of the one before)",
)
NESTED_TYPES = Limit(
    200, "anonymous types in a struct, at any depth", "too many anonymous types (more than {})"
)
ELF_NAME_BYTES = Limit(
    4096, "bytes of the name of a section or symbol", "name of more than {} bytes"
)
OBJECT_INSNS = Limit(
    1_000_000,
    "instructions of a program of an object file; no kernel takes more",
    "more than {} instructions",
)
FILE_BYTES = Limit(1 << 31, "bytes of a file with types or programs", "it has more than {} bytes")
RECORDING_BYTES = Limit(1 << 29, "bytes of a recording, unpacked", "it has more than {} bytes")
RECORDING_LINE_BYTES = Limit(
    1 << 25,
    "bytes of one answer of a recording; the kernel's types, the longest known, take 15 million",
    "it has more than {} bytes",
)
RECORDING_PARTS = Limit(
    1 << 20,
    "parts of the JSON of one answer, of which each may take a hundred bytes",
    "it has more than {} parts",
)

TABLE = {name: found for name, found in list(vars().items()) if isinstance(found, Limit)}
"""All of them by name."""

"""For tests: builders, a loader of compiled programs, a pytest plugin, and the conformance suite.

`builders` make programs, maps and BTF in a line each; `elf` loads what clang compiled; `plugin`
gives pytest an engine to test against without root; `conformance` says what a kernel must do,
and runs on any kernel's doors.
"""

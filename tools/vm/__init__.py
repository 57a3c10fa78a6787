"""Guests: QEMU with one of Debian's kernels and this machine's files, nothing to install in them.

`kernels` fetches and unpacks Debian's packages, `guest` boots one and runs commands in it,
`python -m tools.vm` does both from a terminal, tests/vm from pytest. The host must be an x86-64
Debian (or a derivative) with `qemu-system-x86`. Neither needs root; but a guest reads only the
files that whoever started it may read.
"""

"""The doors to a kernel: bytes cross them, never Python objects."""

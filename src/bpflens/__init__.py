"""See everything about the BPF programs and maps of a Linux system."""

__version__ = "0.1.0"

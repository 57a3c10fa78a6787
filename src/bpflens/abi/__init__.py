"""The kernel's words: commands, enums, attr and info layouts. No I/O, no decisions."""

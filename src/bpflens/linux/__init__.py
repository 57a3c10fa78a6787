"""The live Linux kernel behind the doors."""

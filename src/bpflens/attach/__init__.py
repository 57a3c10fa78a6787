"""Where programs are attached: one finder a file."""

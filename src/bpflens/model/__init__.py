"""What a user holds: programs and maps over the fds that keep them alive."""

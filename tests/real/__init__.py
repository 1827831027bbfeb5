"""Real programs on our tasks: servers of Debian's packages on loopback, and their clients."""

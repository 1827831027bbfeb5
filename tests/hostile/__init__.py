"""Random hostile programs over the whole public API: `make attack`."""

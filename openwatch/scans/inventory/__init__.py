"""The questions about what is on a host beside its compliance, and reading their answers."""

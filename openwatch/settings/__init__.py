"""Settings that are changed while the program runs: typed, with defaults, audited."""

"""The audit trail: who did what to what, written with what it records, sealed in a chain."""

"""One module per noun: Structs, handlers, OPERATIONS; they cannot see each other."""

from __future__ import annotations

"""The HTTP edge: the only importer of falcon and waitress."""

from __future__ import annotations

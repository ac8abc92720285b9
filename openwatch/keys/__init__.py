"""Key files on disk and signing keys in the database."""

from __future__ import annotations

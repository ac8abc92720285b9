"""The hosts, their keys and credentials, and what they are known to be."""

from __future__ import annotations

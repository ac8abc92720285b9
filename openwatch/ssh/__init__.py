"""Reaching a host: SSH through paramiko, this machine through a local shell."""

from __future__ import annotations

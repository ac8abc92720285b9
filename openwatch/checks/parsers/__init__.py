"""Readers of the configuration languages that hosts are written in; pure, text in and data out."""

from __future__ import annotations

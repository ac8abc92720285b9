"""The corpus: rules, their variables and platforms, and the frameworks they serve."""

from __future__ import annotations

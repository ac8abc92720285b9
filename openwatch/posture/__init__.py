"""What was true, and when: findings and scores as periods."""

from __future__ import annotations

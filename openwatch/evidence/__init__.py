"""What a scan rests on: blobs by hash, manifests, the signed chain."""

from __future__ import annotations

"""How the list of hosts with their counts may be sorted, searched and narrowed."""

from __future__ import annotations

from openwatch.db.pages import Column, Listing

HOSTS = Listing(
    sorts=(
        Column("created_at", "timestamptz"),
        Column("hostname"),
        Column("ip_address", "inet"),
        Column("environment"),
        Column("os_family", "text", ""),
        Column("last_scan_at", "timestamptz", "-infinity"),
        Column("failing", "bigint"),
        Column("critical_failing", "bigint"),
    ),
    searched=("hostname", "display_name", "address", "description", "tags"),
    filters=(
        Column("environment"),
        Column("os_family"),
        Column("platform_identifier"),
        Column("scan_state"),
    ),
    most=1000,
)

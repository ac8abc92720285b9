"""How the scans of one host hold together, and which of them a trusted key vouches for."""

from __future__ import annotations

import msgspec

from openwatch.evidence import chain, records

_TOLD = 50  # problems told of a host; the rest is counted


class HostReport(msgspec.Struct, frozen=True):
    """What was found of one host. `problems` begins with the first broken link.

    The chain was checked from `first` to `last`; `head` is the hash it ends with, in hex. Scans
    before `first` are only attested by the checkpoint, but for `kept` single ones. `unproven` of
    the scans are not vouched for by a trusted key.
    """

    id: str
    name: str
    scans: int
    first: int
    last: int
    head: str
    until: str
    checkpoint: chain.Checkpoint | None
    kept: int
    unproven: int
    problems: tuple[str, ...]


class Course:
    """One host's chain, as far as it has been followed."""

    def __init__(self, host: records.Host) -> None:
        """Begin where nothing is known of the host."""
        self.host = host
        self.checkpoint: chain.Checkpoint | None = None
        self.unproven = 0
        self._problems: list[str] = []
        self._scans = self._kept = self._first = 0
        self._pending = 0  # scans that the next trusted signature will vouch for
        self._last: records.Scan | None = None
        self._until = ""

    def refuse(self, what: str) -> None:
        """Note what is wrong."""
        self._problems.append(f"{self.host.name}: {what}")

    def follows(self, scan: records.Scan) -> list[str]:
        """Say why a scan does not follow what was there before it; nothing where it does."""
        since, last = self.checkpoint, self._last
        known = {0: ""}
        if since is not None:
            known[since.sequence] = since.chain
        if last is not None:
            known[last.sequence] = last.chain.hex()
        if last is not None and scan.sequence <= last.sequence:
            return ["comes after a later one"]
        if known.get(scan.sequence, scan.chain.hex()) != scan.chain.hex():
            return ["is not the scan that the checkpoint names"]
        if scan.sequence - 1 in known:
            previous = "" if scan.previous is None else scan.previous.hex()
            is_next = previous == known[scan.sequence - 1]
            return [] if is_next else ["does not follow the scan before it"]
        if since is not None and scan.sequence <= since.sequence:
            return []  # one of those that were kept when its neighbours were removed
        return [f"{scan.sequence - max(known) - 1} scans before it are missing"]

    def add(self, scan: records.Scan, recorded_at: str, *, is_trusted: bool) -> None:
        """Count a scan, and what its signature vouches for."""
        since = self.checkpoint.sequence if self.checkpoint else 0
        before = self._last.sequence if self._last else since
        if scan.sequence != before + 1:
            self._settle()
        self._scans += 1
        self._pending = 0 if is_trusted else self._pending + 1
        if scan.sequence <= since:
            self._kept += 1
        else:
            self._first = self._first or scan.sequence
        self._last, self._until = scan, recorded_at

    def report(self) -> HostReport:
        """Say what was found; no scan follows."""
        self._settle()
        since = self.checkpoint
        if since is not None and (lost := since.sequence - since.count - self._kept):
            self.refuse(f"checkpoint: {lost} of the scans that it says were kept are missing")
        more = len(self._problems) - _TOLD
        told = tuple(self._problems[:_TOLD])
        return HostReport(
            id=str(self.host.id),
            name=self.host.name,
            scans=self._scans,
            first=self._first,
            last=self._last.sequence if self._last else 0,
            head=self._last.chain.hex() if self._last else "",
            until=self._until,
            checkpoint=since,
            kept=self._kept,
            unproven=self.unproven,
            problems=(*told, f"{self.host.name}: and {more} more") if more > 0 else told,
        )

    def _settle(self) -> None:
        """Give up on what no trusted signature can reach any longer."""
        self.unproven += self._pending
        self._pending = 0

from __future__ import annotations

import pytest

from openwatch.checks.types import Facts
from openwatch.rules.platforms import described, matches
from openwatch.rules.types import Platform


@pytest.mark.parametrize(
    ("platform", "family", "version", "fits"),
    [
        (Platform("rhel", 9), "rhel", "9.4", True),
        (Platform("rhel", 9), "rhel", "8.10", False),
        (Platform("rhel", 9), "rocky", "9.4", True),
        (Platform("rhel", 9), "almalinux", "9.4", True),
        (Platform("rhel", 9), "ol", "10", True),
        (Platform("rhel", 9, 9), "ol", "10", False),
        (Platform("rhel", derivatives=False), "rocky", "9.4", False),
        (Platform("redhat", derivatives=False), "rhel", "9", True),
        (Platform("rhel", 9), "fedora", "40", False),
        (Platform("rhel", 9), "amzn", "2023", False),
        (Platform("ubuntu", 22), "ubuntu", "24.04", True),
        (Platform("ubuntu", 22), "debian", "24", False),
        (Platform("debian", 12), "debian", "12", True),
        (Platform("debian", 12), "debian", "", True),
        (Platform("debian", 12), "debian", "trixie/sid", True),
    ],
)
def test_a_platform_fits_by_family_and_leading_number(platform, family, version, fits):
    assert matches(platform, Facts(family=family, version=version)) is fits


def test_platforms_are_told_in_words():
    some = (Platform("rhel", 9), Platform("debian", 12, 13), Platform("ubuntu", 24, 24))
    assert described((*some, Platform("x"), Platform("y", 0, 3))) == (
        "rhel 9 and newer, debian 12 to 13, ubuntu 24, x, y up to 3"
    )

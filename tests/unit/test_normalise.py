"""What varies by nature leaves an answer; what is a setting stays as it was printed."""

from __future__ import annotations

import pytest

from openwatch.checks.mount_option import METHOD as MOUNT
from openwatch.checks.normalise import is_counter, normalised
from openwatch.checks.sysctl_value import Parameters
from openwatch.checks.types import Facts, Normaliser, Probe

_SYSCTL = b"""fs.dentry-state = 1\t2\t45\t0\t3\t0
fs.file-max = 9223372036854775807
fs.file-nr = 2081\t0\t2466170
kernel.kptr_restrict = 1
kernel.ns_last_pid = 21928
kernel.random.boot_id = 8b1
kernel.random.uuid = 86e55ff5
net.ipv4.conf.all.rp_filter = 1
net.ipv4.conf.veth12ab.rp_filter = 2
"""


def normal(normaliser: Normaliser | None, text: bytes) -> bytes:
    return normalised(Probe("x", normaliser=normaliser), text)


def test_kernel_counters_leave_and_settings_stay() -> None:
    kept = normal(Normaliser.SYSCTL, _SYSCTL)
    assert kept == (
        b"fs.file-max = 9223372036854775807\nkernel.kptr_restrict = 1\n"
        b"kernel.random.boot_id = 8b1\nnet.ipv4.conf.all.rp_filter = 1\n"
    )
    assert normal(Normaliser.SYSCTL, kept) == kept


def test_a_rule_cannot_ask_for_a_counter() -> None:
    assert is_counter("fs.file-nr")
    assert not is_counter("fs.file-max")
    for key in ("fs.file-nr", "fs/file-nr"):
        with pytest.raises(ValueError, match="not a setting"):
            Parameters(key=key, expected="1")


def test_the_uses_and_addresses_of_modules_leave() -> None:
    line = b"nf_tables 372736 %d nft_ct,nft_fib, Live 0xffffffffc0a%d (OE)\n"
    assert normal(Normaliser.MODULES, line % (7, 111)) == normal(
        Normaliser.MODULES, line % (42, 222)
    )
    assert normal(Normaliser.MODULES, line % (7, 1)).startswith(b"nf_tables 372736 ")
    assert normal(Normaliser.MODULES, b"loop 4096 0 - Live 0x0\n") == b"loop 4096 - - Live -\n"


def test_mounts_of_logins_leave() -> None:
    tmp = b'TARGET="/tmp" FSTYPE="tmpfs" OPTIONS="rw"\n'
    login = b'TARGET="/run/user/1000" FSTYPE="tmpfs" OPTIONS="rw"\n'
    assert normal(Normaliser.MOUNTS, login + tmp) == tmp


def test_what_names_no_normaliser_is_left_as_it_came() -> None:
    assert normal(None, _SYSCTL) == _SYSCTL
    params = MOUNT.parameters(mount_point="/", options=("rw",))
    assert MOUNT.probes(params, Facts())[0].normaliser is Normaliser.MOUNTS


def test_a_probe_keeps_its_id_when_a_field_with_a_default_is_added() -> None:
    assert Probe("true").id == "af3529ab61d8ce3641bd8eb78ea7aa73"  # evidence names it so
    assert Probe("true", seconds=10).id == Probe("true").id
    assert Probe("true", normaliser=Normaliser.SYSCTL).id != Probe("true").id

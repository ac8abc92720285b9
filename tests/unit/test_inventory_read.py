"""What is read out of a host's answers about itself, of systems that this machine is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwatch.checks import accounts, files, sudo_files
from openwatch.checks.types import Absence, Facts, Observation, Probe
from openwatch.fleet.inventory import Aspect, Category, Hindrance, Inventory
from openwatch.scans.inventory import accounts as people
from openwatch.scans.inventory import look, machine, network, system

RHEL = Facts(
    family="rhel",
    version="9.4",
    like=("fedora",),
    hostname="web-1",
    kernel="5.14.0-427.el9.x86_64",
    architecture="x86_64",
    root=True,
)
DEBIAN = Facts(family="debian", version="12", kernel="6.1.0-18-amd64", root=True)
RPM, DPKG = system.probes(RHEL)[0], system.probes(DEBIAN)[0]
NFT, IPTABLES, IP6TABLES = network.PROBES[3:6]
MISSING = Observation(exit=127, stderr=b"sh: 1: eval: x: not found")


def file(path: str) -> Probe:
    return files.reading(path)


def answered(text: str, exit_status: int = 0, stderr: str = "") -> Observation:
    return Observation(exit=exit_status, stdout=text.encode(), stderr=stderr.encode())


def read(answers: dict[Probe, Observation], facts: Facts = RHEL) -> Inventory:
    return look.read(facts, {probe.id: answer for probe, answer in answers.items()})


def fact(category: Category, answers: dict[Probe, Observation], facts: Facts = RHEL) -> object:
    found = read(answers, facts)
    return found.facts.get(category, found.missing.get(category))


def aspect(name: Aspect, answers: dict[Probe, Observation], facts: Facts = RHEL) -> object:
    found = read(answers, facts)
    return found.system.get(name, found.unknown.get(name))


def test_without_an_answer_nothing_is_known_and_each_part_says_so() -> None:
    found = read({}, Facts())
    assert found.facts == {}
    assert set(found.missing) == set(Category)
    assert set(found.unknown) == set(Aspect)


def test_packages_of_one_name_are_told_apart_by_architecture_and_version() -> None:
    rows = (
        "kernel-core\t0:5.14.0-427.el9\tx86_64\nkernel-core\t0:5.14.0-503.el9\tx86_64\n"
        "glibc\t0:2.34-100\tx86_64\nglibc\t0:2.34-100\ti686\n"
        "gpg-pubkey\t0:1-a\t(none)\ngpg-pubkey\t0:2-b\t(none)\nbind\t32:9.16-1\tx86_64\n"
    )
    assert fact(Category.PACKAGES, {RPM: answered(rows)}) == {
        "kernel-core.x86_64": ["5.14.0-427.el9", "5.14.0-503.el9"],
        "glibc.x86_64": ["2.34-100"],
        "glibc.i686": ["2.34-100"],
        "gpg-pubkey.noarch": ["1-a", "2-b"],
        "bind.x86_64": ["32:9.16-1"],
    }


@pytest.mark.parametrize(
    "answer",
    [
        Observation(stdout=b"a\t0:1\tx86_64\n", truncated=True),
        answered("a\t0:1\tx86_64\n", 1),
        answered("a\t0:1\tx86_64\n", stderr="error: rpmdb: damaged\n"),
        answered(""),
    ],
)
def test_half_a_list_of_packages_is_none(answer: Observation) -> None:
    assert fact(Category.PACKAGES, {RPM: answer}) is Hindrance.FAILED


def test_packages_that_were_removed_but_for_their_settings_are_not_installed() -> None:
    rows = "ii \tbash\t5.2\tamd64\nrc \told\t1\tamd64\niU \thalf\t2\tamd64\n"
    assert fact(Category.PACKAGES, {DPKG: answered(rows)}, DEBIAN) == {
        "bash.amd64": ["5.2"],
        "half.amd64": ["2"],
    }


def test_a_newer_kernel_than_the_running_one_asks_for_a_restart() -> None:
    def needed(*versions: str) -> object:
        rows = "".join(f"kernel-core\t0:{one}\tx86_64\n" for one in versions)
        return fact(Category.REBOOT, {RPM: answered(rows)})

    assert needed("5.14.0-427.el9") is False
    assert needed("5.14.0-427.el9", "5.14.0-70.el9") is False
    assert needed("5.14.0-427.el9", "5.14.0-503.el9") is True
    assert needed("5.14.0-503.el9") is Hindrance.FAILED  # the running one is nobody's package


def test_a_restart_is_asked_for_by_a_mark_or_a_newer_kernel_of_the_same_flavour() -> None:
    def needed(*names: str, mark: bool = False) -> object:
        rows = "".join(f"ii \tlinux-image-{one}\t1\tamd64\n" for one in names)
        gone = answered("", 1, "cat: /run/reboot-required: No such file or directory")
        answers = {
            DPKG: answered(rows or "ii \tbash\t1\tamd64\n"),
            file("/run/reboot-required"): answered("") if mark else gone,
        }
        return fact(Category.REBOOT, answers, DEBIAN)

    assert needed("6.1.0-18-amd64", "amd64") is False
    assert needed("6.1.0-18-amd64", "6.1.0-21-amd64") is True
    assert needed() is False
    assert needed("6.1.0-18-amd64", mark=True) is True


def test_services_by_their_states() -> None:
    rows = (
        "sshd.service loaded active running OpenSSH\n"
        "* bad.service loaded failed failed Bad\n"
        "logrotate.service loaded activating start Rotate\n"
        "loop.service loaded activating auto-restart Loop\n"
        "gone.service not-found inactive dead gone.service\n"
        "user@1000.service loaded active running User Manager\n"
        "idle.service loaded inactive dead Idle\n"
    )
    assert fact(Category.SERVICES, {system.SERVICES: answered(rows)}) == {
        "sshd.service": "active",
        "bad.service": "failed",
        "logrotate.service": "changing",
        "loop.service": "failed",
        "idle.service": "inactive",
    }


def test_a_host_without_systemd_has_no_services_to_tell_of() -> None:
    said = "System has not been booted with systemd as init system (PID 1). Can't operate."
    assert fact(Category.SERVICES, {system.SERVICES: answered("", 1, said)}) is Hindrance.FAILED


def test_mounts_but_those_that_come_and_go_by_themselves() -> None:
    rows = (
        "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp xfs rw 0 0\n"
        "tmpfs /run/user/1000 tmpfs rw 0 0\noverlay /var/lib/docker/overlay2/x/merged o rw 0 0\n"
        "systemd-1 /efi autofs rw 0 0\n/dev/vda1 /efi vfat rw 0 0\n"
        r"//nas/a\040b /srv/a\040b cifs rw 0 0" + "\n"
        "https://u:hunter2hunter2@dav.example/x /dav fuse rw 0 0\n"
    )
    found = fact(Category.MOUNTS, {file("/proc/mounts"): answered(rows)})
    assert isinstance(found, dict)
    assert set(found) == {"/", "/tmp", "/srv/a b", "/dav"}
    assert found["/tmp"] == "/dev/vdb"
    assert found["/srv/a b"] == "//nas/a b"
    assert "hunter2" not in found["/dav"]


def test_digests_of_settings_and_those_that_could_not_be_read() -> None:
    digest = "a" * 64
    answer = answered(
        f"{digest}  /etc/passwd\n\\{digest}  /etc/pam.d/odd\n",
        1,
        "sha256sum: /etc/sudoers.d/*: Permission denied\n"
        "sha256sum: /etc/shadow: Permission denied\n",
    )
    assert fact(Category.CONFIG, {system.CONFIG: answer}) == {
        "/etc/passwd": digest,
        "/etc/pam.d/odd": digest,
        "/etc/shadow": None,
        "/etc/sudoers.d/*": None,
    }


def test_listening_ports_of_tcp_and_udp_as_ss_writes_them() -> None:
    rows = (
        "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n"
        "udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*          \n"
        "udp   UNCONN 0      0            0.0.0.0:45000     0.0.0.0:*          \n"
        "tcp   LISTEN 0      128             [::]:22           [::]:*          \n"
        "tcp   LISTEN 0      128                *:443             *:*          \n"
    )
    assert fact(Category.LISTENING_PORTS, {network.PORTS: answered(rows)}) == [
        {"protocol": "tcp", "address": "*", "port": 443},
        {"protocol": "tcp", "address": "::", "port": 22},
        {"protocol": "udp", "address": "0.0.0.0", "port": 45000, "passing": True},
        {"protocol": "udp", "address": "127.0.0.53", "port": 53},
    ]


def test_listening_ports_without_ss() -> None:
    rows = (
        "tcp 0100007F:1F90 0A\ntcp 0100007F:1F91 07\nudp 00000000:0044 07\n"
        "tcp6 00000000000000000000000001000000:0016 0A\n"
    )
    assert fact(Category.LISTENING_PORTS, {network.PORTS: answered(rows)}) == [
        {"protocol": "tcp", "address": "127.0.0.1", "port": 8080},
        {"protocol": "tcp", "address": "::1", "port": 22},
        {"protocol": "udp", "address": "0.0.0.0", "port": 68},
    ]


def test_interfaces_and_routes() -> None:
    links = (
        "lo unknown 772 00:00:00:00:00:00 65536 - - 10 10 \n"
        "eth0 up 1 02:00:00:00:00:01 1500 1000 full 5 6 virtio_net\n\n"
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n"
        "2: eth0    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0\\\n"
        "2: eth0    inet6 2001:db8::2/64 scope global \\\n"
    )
    routes = (
        "default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.2 metric 100 \n"
        "192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2 \n\n"
        "unreachable 2001:db8:1::/48 dev lo metric 1024 \n"
    )
    answers = {network.LINKS: answered(links), network.ROUTES: answered(routes)}
    interfaces = fact(Category.NETWORK_INTERFACES, answers)
    assert isinstance(interfaces, list)
    assert interfaces[1] == {
        "name": "eth0",
        "state": "up",
        "type": "ethernet",
        "ipv4_addrs": ["192.0.2.2/24"],
        "ipv6_addrs": ["2001:db8::2/64"],
        "mac": "02:00:00:00:00:01",
        "mtu": 1500,
        "driver": "virtio_net",
        "speed_mbps": 1000,
        "duplex": "full",
        "rx_bytes": 5,
        "tx_bytes": 6,
    }
    found = fact(Category.ROUTES, answers)
    assert isinstance(found, list)
    assert found[0]["gateway"] == "192.0.2.1"
    assert found[0]["metric"] == 100
    assert found[1]["scope"] == "link"
    assert found[2]["type"] == "unreachable"
    assert found[2]["destination"] == "2001:db8:1::/48"


RULESET = """table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		tcp dport { 22, 443 } accept
	}
	set banned {
		type ipv4_addr
	}
}
"""


def test_the_packet_filter_has_an_engine_rules_and_a_digest() -> None:
    def found(nft: Observation, ip4: Observation, ip6: Observation) -> object:
        return fact(Category.FIREWALL, {NFT: nft, IPTABLES: ip4, IP6TABLES: ip6})

    policy = answered("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n")
    one = answered("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n")
    none = found(MISSING, MISSING, MISSING)
    assert none == {"engine": "none", "rules": None, "digest": None}
    nft = found(answered(RULESET), policy, policy)
    assert isinstance(nft, dict)
    assert (nft["engine"], nft["rules"]) == ("nftables", 2)
    empty = found(answered(""), MISSING, MISSING)
    assert isinstance(empty, dict)
    assert (empty["engine"], empty["rules"]) == ("nftables", 0)
    assert empty["digest"]
    old = found(MISSING, one, policy)
    assert isinstance(old, dict)
    assert (old["engine"], old["rules"]) == ("iptables", 1)
    denied = answered("", 1, "Operation not permitted (you must be root)")
    assert found(denied, MISSING, MISSING) is Hindrance.DENIED
    assert nft["digest"] != empty["digest"]


def test_who_manages_the_packet_filter() -> None:
    services = answered("firewalld.service loaded active running firewalld\n")
    ufw = file("/etc/ufw/ufw.conf")
    assert aspect(Aspect.FIREWALL, {system.SERVICES: services}) == {
        "firewall_service": "firewalld",
        "firewall_status": "active",
    }
    assert aspect(Aspect.FIREWALL, {ufw: answered("LOGLEVEL=low\nENABLED=yes\n")}) == {
        "firewall_service": "ufw",
        "firewall_status": "active",
    }
    tables = {NFT: answered(""), IPTABLES: MISSING, IP6TABLES: MISSING}
    assert aspect(Aspect.FIREWALL, {ufw: answered("ENABLED=no\n"), **tables}) == {
        "firewall_service": "ufw",
        "firewall_status": "inactive",
    }
    nobody = dict.fromkeys((NFT, IPTABLES, IP6TABLES), MISSING)
    assert aspect(Aspect.FIREWALL, nobody) == {"firewall_service": "", "firewall_status": ""}


def test_accounts_groups_passwords_keys_and_sudo() -> None:
    local = (
        "/etc/passwd:root:x:0:0:/root:/bin/bash\n/etc/passwd:anna:x:1000:10:/home/anna:/bin/sh\n"
        "/etc/group:root:x:0:\n/etc/group:wheel:x:10:bert\n"
    )
    ages = (
        "/etc/shadow:root:$6:19000:0:99999:7::\n/etc/shadow:anna:!$6:20000:0:90:7::\n"
        "/etc/shadow:odd:*:99999999999999:0:99999999:7::\n"
    )
    seen = "u root:root\nu anna:Anna Muster\nssh-ed25519 AAAAC3Nz\nssh-rsa AAAA=broken=\n"
    answers = {
        accounts.LOCAL: answered(local),
        accounts.AGES: answered(ages),
        people.ACCOUNTS: answered(seen),
        sudo_files.WRITTEN: answered("/etc/sudoers:%wheel ALL=(ALL) ALL\n"),
    }
    users = fact(Category.USERS, answers)
    assert isinstance(users, dict)
    assert users["anna"]["gecos"] == "Anna Muster"
    assert users["anna"]["uid"] == 1000
    assert fact(Category.GROUPS, answers) == {"root": ["root"], "wheel": ["anna", "bert"]}
    passwords = fact(Category.PASSWORDS, answers)
    assert isinstance(passwords, dict)
    assert passwords["root"] == {
        "locked": False,
        "last_change_days": 19000,
        "max_days": 99999,
        "password_expires_at": None,
    }
    assert passwords["anna"]["locked"] is True
    assert passwords["anna"]["password_expires_at"] == "2025-01-02"
    assert passwords["odd"]["password_expires_at"] is None
    keys = fact(Category.SSH_KEYS, answers)
    assert isinstance(keys, dict)
    assert list(keys) == ["anna"]
    assert list(keys["anna"].values()) == ["ssh-ed25519"]
    assert fact(Category.SUDO_GROUPS, answers) == ["wheel"]
    assert fact(Category.SSH_KEYS, answers, Facts(root=False)) is Hindrance.DENIED


def test_who_may_not_read_the_shadow_file_is_told_so() -> None:
    said = "awk: cannot open /etc/shadow (Permission denied)"
    denied = answered("", 2, said)
    assert fact(Category.PASSWORDS, {accounts.AGES: denied}) is Hindrance.DENIED
    late = Observation(absent=Absence.TIMEOUT)
    assert fact(Category.SERVICES, {system.SERVICES: late}) is Hindrance.TIMEOUT


def test_what_machine_it_is() -> None:
    answers = {
        file("/etc/os-release"): answered('NAME="Rocky Linux"\nID=rocky\nVERSION_ID="9.4"\n'),
        file("/proc/meminfo"): answered("MemTotal: 2048000 kB\nMemFree: 1024 kB\n"),
        machine.DISK: answered("Filesystem 1024-blocks Used Available Capacity Mounted on\n"
                               "/dev/vda 10485760 5242881 5242879 50% /\n"),
        machine.NAMES: answered("127.0.1.1 web-1.example.org web-1 # comment\n"),
        file("/sys/fs/selinux/enforce"): answered("1"),
        file("/sys/module/apparmor/parameters/enabled"): answered("N\n"),
    }  # fmt: skip
    found = read(answers)
    assert found.system[Aspect.OS_RELEASE]["os_name"] == "Rocky Linux"
    assert found.system[Aspect.OS_RELEASE]["os_family"] == "rhel"
    assert found.system[Aspect.MEMORY]["mem_available_mb"] == 1
    assert found.system[Aspect.DISK] == {
        "disk_total_gb": 10,
        "disk_used_gb": 6,
        "disk_free_gb": 5,
    }
    assert found.system[Aspect.FQDN] == {"fqdn": "web-1.example.org"}
    assert found.system[Aspect.SELINUX] == {"selinux_status": "Enforcing"}
    assert found.system[Aspect.APPARMOR] == {"apparmor_enabled": False}
    assert found.system[Aspect.UNAME]["kernel_release"] == RHEL.kernel


def test_a_name_that_is_whole_needs_no_other() -> None:
    whole = Facts(hostname="web-1.example.org")
    assert aspect(Aspect.FQDN, {}, whole) == {"fqdn": "web-1.example.org"}
    nothing = {machine.NAMES: answered("", 1)}
    assert aspect(Aspect.FQDN, nothing) == {"fqdn": None}


PROBES = tuple({p.id: p for f in (RHEL, DEBIAN) for p in look.probes(f)}.values())


@given(
    st.dictionaries(
        st.sampled_from([probe.id for probe in PROBES]),
        st.builds(
            Observation,
            exit=st.sampled_from([0, 0, 0, 1, 2, 127, 137]),
            stdout=st.binary(max_size=200)
            | st.text("/:ab 019\t\n.-{}%$,;\\\0", max_size=200).map(str.encode),
            stderr=st.sampled_from([b"", b"Permission denied", b"x"]),
        ),
    ),
    st.sampled_from([RHEL, DEBIAN, Facts()]),
)
def test_whatever_a_host_says_every_part_is_known_or_missing(
    answers: dict[str, Observation], facts: Facts
) -> None:
    found = look.read(facts, answers)
    assert set(found.facts) | set(found.missing) == set(Category)
    assert not set(found.facts) & set(found.missing)
    assert set(found.system) | set(found.unknown) == set(Aspect)
    assert "\0" not in repr(found).replace("\\\\0", "")

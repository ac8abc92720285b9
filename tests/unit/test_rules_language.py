"""Any corpus written in the language loads: every method, parameter, gate, relation and mechanism."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from openwatch.checks.registry import ALIASES, METHODS
from openwatch.checks.types import Facts
from openwatch.rules import capabilities
from openwatch.rules import load as loading
from openwatch.rules.mechanisms import MECHANISMS
from openwatch.rules.types import Corpus
from openwatch.scans.explain import described
from openwatch.scans.plan import plan

# Parameters as foreign authors write them: quoted or not, in both forms of YAML.
CHECKS = """
command: {run: grep -q x /etc/x}
command: {cmd: 'true', expected_exit: 1, expected_stdout: ''}
command: {run: exit 77, expected_exit: 0, not_assessable_exit: 77, expected_output: part}
config_value: {path: /etc/x, key: a, expected: 60}
config_value: {path: /etc/x, key: a, expected: no, delimiter: ' ', comparator: '!='}
config_value: {path: /etc/x, key: a, expected: -1, comparator: <=, dropin_dir: /etc/x.d}
config_value: {path: /etc/x.d, key: a, expected: yes, scan_pattern: '*.conf'}
config_value: {path: /etc/x.d, key: a, expected: '', scan_pattern: conf}
sshd_effective_config: {key: PermitRootLogin, expected: no}
package_state: {name: bash}
package_state: {name: telnet-server, state: absent}
package_installed: {name: bash}
package_absent: {name: rsh}
dpkg_installed: {name: libpam-pwquality}
dpkg_absent: {name: rsh-client}
audit_rule_exists: {rule: "-w /etc/passwd -p wa -k identity"}
audit_rule_exists: {rule: "-a always,exit -F arch=b64 -S chmod -F auid!=unset -k p\\n-e 2\\n"}
service_state: {name: auditd, enabled: true, active: true}
service_state: {name: avahi-daemon.socket, enabled: no, active: off}
service_enabled: {name: cron}
service_active: {name: cron}
file_permission: {path: /etc/passwd, mode: 0644, owner: root, group: root}
file_permissions: {path: /etc/shadow, mode: '0640'}
file_permissions: {path: /etc/shadow, mode: 640, group: shadow}
file_permissions: {path: /etc/shadow, owner: root}
sysctl_value: {key: kernel.x, expected: 2}
sysctl_value: {key: net/ipv4/x, expected: '1', comparator: '>='}
mount_option: {mount_point: /tmp, options: [nodev, mode=1777]}
kernel_module_state: {name: usb-storage}
kernel_module_state: {name: cramfs, state: blacklisted}
kernel_module_state: {name: cramfs, state: disabled}
grub_parameter: {key: audit, expected: 1}
set_compare: {observed_command: cut -d= -f1 /etc/x, authorized: 'a,b', alias_separator: ' '}
set_compare: {observed_command: getent passwd, authorized: {{ authorized_local_accounts }}}
file_exists: {path: /etc/x}
file_absent: {path: /etc/x}
file_content: {path: /etc/issue, expected_content: {{ banner_text }}}
file_content_match: {path: /etc/x, pattern: '^root:'}
systemd_target: {expected: multi-user.target}
systemd_target: {not_expected: graphical.target}
selinux_state: {state: Enforcing}
apparmor_state: {}
apparmor_state: {state: loaded}
apparmor_state: {state: enforcing}
"""
METHODS_OF_THE_LANGUAGE = {
    *("command", "config_value", "sysctl_value", "package_state", "package_installed"),
    *("package_absent", "dpkg_installed", "dpkg_absent", "file_exists", "file_absent"),
    *("file_content_match", "file_content", "file_permission", "file_permissions"),
    *("service_enabled", "service_active", "service_state", "audit_rule_exists"),
    *("sshd_effective_config", "mount_option", "kernel_module_state", "grub_parameter"),
    *("set_compare", "apparmor_state", "selinux_state", "systemd_target"),
}
ROWS = CHECKS.strip().split("\n")
HEAD = """\
id: {id}
title: A title
description: >-
  What it is
rationale: |
  Why it is
severity: critical
category: access-control
tags: [a, 'b c']
transactional: false
references:
  cis:
    rhel9: {{section: "1.1.1", level: L1, type: Automated}}
    ubuntu24:
      - {{section: "1.1.2", level: L2, type: Manual}}
      - {{section: "1.1.3", level: L1, type: Automated}}
  stig:
    rhel8: {{vuln_id: V-1, stig_id: RHEL-08-1, severity: CAT II, cci: [CCI-000366]}}
  nist_800_53: [CM-6]
  nist_800_171: ["3.1.11[b]"]
  pci_dss_4: ["2.2.1"]
  srg: [SRG-OS-000001]
platforms:
  - family: rhel
    min_version: 8
    max_version: 0
  - {{family: Ubuntu, min_version: 22, max_version: 24, derivatives: false}}
"""
GATES = {
    "apt": "apt",
    "not gdm": "\n      not: gdm",
    "apt and not (gdm or (sssd and not selinux))": (
        "{all: [apt, {not: {any: [gdm, {all: [sssd, {not: selinux}]}]}}]}"
    ),
}


def rule(
    name: str, check: str, *, when: str = "", remediation: str = "mechanism: manual"
) -> str:
    gate = f"when: {when}" if when else "default: true"
    return (
        HEAD.format(id=name)
        + f"implementations:\n  - {gate}\n    check:\n"
        + textwrap.indent(check, "      ")
        + "\n    remediation:\n"
        + textwrap.indent(remediation, "      ")
        + "\n"
    )


def loaded(folder: Path, **rules: str) -> Corpus:
    for name, text in rules.items():
        (folder / f"{name}.yml").write_text(text)
    found = loading.read([folder], {})
    assert found.problems == ()
    return found


def written(row: str) -> str:
    """The parameters of one row below each other, as a document has them."""
    name, _, parameters = row.partition(": ")
    return f"{{method: {name}, {parameters[1:]}".replace(", }", "}")


@pytest.mark.parametrize("row", ROWS)
def test_a_check_of_the_language_loads_and_asks(row: str, tmp_path: Path) -> None:
    corpus = loaded(tmp_path, a=rule("a", written(row)))
    (one,) = corpus.rules["a"].implementations
    name = row.partition(":")[0]
    assert one.check.method == ALIASES.get(name, name)
    for family, version in (("rocky", "9.4"), ("ubuntu", "22.04")):
        (step,) = plan(corpus, Facts(family=family, version=version)).steps
        assert step.verdict is None
        assert step.leaves[0].probes or name == "set_compare"  # where nothing is declared


def test_every_method_and_parameter_of_the_language_is_tried() -> None:
    assert {row.partition(":")[0] for row in ROWS} == METHODS_OF_THE_LANGUAGE
    assert METHODS.keys() | ALIASES.keys() >= METHODS_OF_THE_LANGUAGE


def test_an_and_of_checks_and_of_ands_is_one(tmp_path: Path) -> None:
    check = """\
checks:
  - method: file_exists
    path: /a
  - checks:
      - {method: file_absent, path: /b}
      - checks:
          - {method: selinux_state, state: enforcing}"""
    corpus = loaded(tmp_path, a=rule("a", check))
    (step,) = plan(corpus, Facts(family="rhel", version="8")).steps
    assert [leaf.method.name for leaf in step.leaves] == [
        "file_exists",
        "file_absent",
        "selinux_state",
    ]


@pytest.mark.parametrize("gate", GATES)
def test_gates_of_every_depth_load(gate: str, tmp_path: Path) -> None:
    text = rule("a", "{method: file_exists, path: /a}", when=GATES[gate])
    corpus = loaded(tmp_path, a=text)
    assert described(corpus.rules["a"].implementations[0].when) == gate


@pytest.mark.parametrize("name", sorted(capabilities.NAMES))
def test_a_gate_may_name_any_capability(name: str, tmp_path: Path) -> None:
    corpus = loaded(tmp_path, a=rule("a", "{method: file_exists, path: /a}", when=name))
    assert capabilities.needed(corpus) == {name}
    host = Facts(family="rhel", version="9", capabilities=frozenset({name}))
    (there,) = plan(corpus, host).steps
    (not_there,) = plan(corpus, Facts(family="rhel", version="9")).steps
    assert there.leaves
    assert not_there.verdict is not None
    assert not_there.verdict.reason == "no_implementation"


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_remediation_with_every_parameter_loads(name: str, tmp_path: Path) -> None:
    needs, takes = MECHANISMS[name]
    steps = f"mechanism: {name}\n" + "".join(f"{key}: x\n" for key in sorted(needs | takes))
    several = "steps:\n" + textwrap.indent(steps, "    ").replace("    m", "  - m", 1)
    services = "reload: sshd\nrestart: auditd\nnotify: x\n"
    check = "{method: file_exists, path: /a}"
    corpus = loaded(
        tmp_path,
        one=rule("one", check, remediation=steps + services),
        several=rule("several", check, remediation=several + services),
    )
    for rule_id in ("one", "several"):
        (implementation,) = corpus.rules[rule_id].implementations
        assert implementation.remediation["restart"] == "auditd"


def test_relations_between_rules_load_and_hold(tmp_path: Path) -> None:
    check = "{method: file_exists, path: /a}"

    def related(name: str, **more: str) -> str:
        return "".join(f"{key}: [{value}]\n" for key, value in more.items()) + rule(name, check)

    corpus = loaded(
        tmp_path,
        a=related("a", depends_on="c", conflicts_with="b"),
        b=related("b", supersedes="d"),
        c=related("c"),
        d=related("d"),
    )
    steps = plan(corpus, Facts(family="almalinux", version="9.1")).steps
    assert [step.rule.id for step in steps] == ["b", "c", "a"]
    assert corpus.rules["a"].conflicts_with == ("b",)


@pytest.mark.parametrize(
    ("family", "version", "is_for_it"),
    [
        *((name, "8.10", True) for name in ("rhel", "redhat", "centos", "rocky", "almalinux")),
        *((name, "10", True) for name in ("alma", "ol", "oracle")),
        ("rhel", "7.9", False),
        ("rhel", "", True),
        ("ubuntu", "22.04", True),
        ("ubuntu", "24.04", True),
        ("ubuntu", "20.04", False),
        ("ubuntu", "26.04", False),
        ("debian", "12", False),
        ("fedora", "42", False),
        ("", "", True),
    ],
)
def test_platforms_of_the_language(
    family: str, version: str, is_for_it: bool, tmp_path: Path
) -> None:
    corpus = loaded(tmp_path, a=rule("a", "{method: file_exists, path: /a}"))
    (step,) = plan(corpus, Facts(family=family, version=version)).steps
    assert (step.verdict is None) is is_for_it


def test_controls_of_every_shape_are_served(tmp_path: Path) -> None:
    corpus = loaded(tmp_path, a=rule("a", "{method: file_exists, path: /a}"))
    found = {name: [c.id for c in one.controls] for name, one in corpus.frameworks.items()}
    assert found == {
        "cis_rhel9": ["1.1.1"],
        "cis_ubuntu24": ["1.1.2", "1.1.3"],
        "stig_rhel8": ["V-1"],
        "nist_800_53": ["CM-6"],
        "nist_800_171": ["3.1.11[b]"],
        "pci_dss_4": ["2.2.1"],
        "srg": ["SRG-OS-000001"],
    }

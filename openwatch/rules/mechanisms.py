"""The remediation mechanisms and their parameters, so that a misspelt one is found at load."""

from __future__ import annotations

from collections.abc import Mapping

# Required before the bar, optional behind it. `unless` is accepted by all.
_TABLE = """
apt_absent name
apt_present name
audit_rule_set rule | persist_file
authselect_feature_enable feature
command_exec run
config_append path line
config_set path key value | separator
config_set_dropin dir file key value | separator section content
cron_job schedule command user | name file
crypto_policy_set policy
crypto_policy_subpolicy subpolicy
dconf_set schema key value file | lock db value_type
file_absent path
file_content path content | owner group mode
file_permissions | path find_paths owner group mode find_type find_name find_args glob
grub_parameter_remove key
grub_parameter_set key value
kernel_module_disable name
manual | note description action
mount_option_set mount_point options
package_absent name
package_present name
pam_module_arg module action arg files | type arg_regex
pam_module_configure service module type control | args
selinux_boolean_set name value
service_disabled name | stop
service_enabled name | start
service_masked name | stop
sysctl_set key value | persist_file
"""


def _read(table: str) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    mechanisms = {}
    for row in table.strip().splitlines():
        name, _, parameters = row.partition(" ")
        needs, _, takes = parameters.partition("|")
        mechanisms[name] = (frozenset(needs.split()), frozenset((*takes.split(), "unless")))
    return mechanisms


MECHANISMS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = _read(_TABLE)

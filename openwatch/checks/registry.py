"""The check methods by name; what is not here does not exist."""

from __future__ import annotations

from collections.abc import Mapping

from openwatch.checks import (
    apparmor_state,
    audit_rule_exists,
    authselect_state,
    banner_content,
    command,
    config_value,
    crypto_policy,
    file_absent,
    file_content,
    file_content_match,
    file_exists,
    file_permission,
    file_scan,
    firewall_default,
    grub_parameter,
    kernel_module_state,
    local_accounts,
    mount_option,
    package_named,
    package_state,
    package_verify,
    pam_argument,
    pam_module,
    resource_limit,
    selinux_state,
    service_active,
    service_choice,
    service_enabled,
    service_state,
    set_compare,
    shell_variable,
    sshd_effective_config,
    sudoers_default,
    sudoers_rule,
    sysctl_value,
    systemd_target,
    tree_permission,
    unit_property,
)
from openwatch.checks.types import Method

METHODS: Mapping[str, Method] = {
    "apparmor_state": apparmor_state.METHOD,
    "audit_rule_exists": audit_rule_exists.METHOD,
    "authselect_state": authselect_state.METHOD,
    "banner_content": banner_content.METHOD,
    "command": command.METHOD,
    "config_value": config_value.METHOD,
    "crypto_policy": crypto_policy.METHOD,
    "dpkg_absent": package_named.DPKG_ABSENT,
    "dpkg_installed": package_named.DPKG_INSTALLED,
    "file_absent": file_absent.METHOD,
    "file_content": file_content.METHOD,
    "file_content_match": file_content_match.METHOD,
    "file_exists": file_exists.METHOD,
    "file_permission": file_permission.METHOD,
    "file_scan": file_scan.METHOD,
    "firewall_default": firewall_default.METHOD,
    "grub_parameter": grub_parameter.METHOD,
    "kernel_module_state": kernel_module_state.METHOD,
    "local_accounts": local_accounts.METHOD,
    "mount_option": mount_option.METHOD,
    "package_absent": package_named.ABSENT,
    "package_installed": package_named.INSTALLED,
    "package_state": package_state.METHOD,
    "package_verify": package_verify.METHOD,
    "pam_argument": pam_argument.METHOD,
    "pam_module": pam_module.METHOD,
    "resource_limit": resource_limit.METHOD,
    "selinux_state": selinux_state.METHOD,
    "service_active": service_active.METHOD,
    "service_choice": service_choice.METHOD,
    "service_enabled": service_enabled.METHOD,
    "service_state": service_state.METHOD,
    "set_compare": set_compare.METHOD,
    "shell_variable": shell_variable.METHOD,
    "sshd_effective_config": sshd_effective_config.METHOD,
    "sudoers_default": sudoers_default.METHOD,
    "sudoers_rule": sudoers_rule.METHOD,
    "sysctl_value": sysctl_value.METHOD,
    "systemd_target": systemd_target.METHOD,
    "tree_permission": tree_permission.METHOD,
    "unit_property": unit_property.METHOD,
}

ALIASES: Mapping[str, str] = {"file_permissions": "file_permission"}


def method(name: str) -> Method | None:
    """Return the method of a name or alias, None where there is none."""
    return METHODS.get(ALIASES.get(name, name))

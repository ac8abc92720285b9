"""The check methods by name; what is not here does not exist."""

from __future__ import annotations

from collections.abc import Mapping

from openwatch.checks import (
    command,
    config_value,
    file_absent,
    file_content_match,
    file_exists,
    file_permission,
    kernel_module_state,
    mount_option,
    package_state,
    service_state,
    sshd_effective_config,
    sysctl_value,
)
from openwatch.checks.types import Method

METHODS: Mapping[str, Method] = {
    "command": command.METHOD,
    "config_value": config_value.METHOD,
    "file_absent": file_absent.METHOD,
    "file_content_match": file_content_match.METHOD,
    "file_exists": file_exists.METHOD,
    "file_permission": file_permission.METHOD,
    "kernel_module_state": kernel_module_state.METHOD,
    "mount_option": mount_option.METHOD,
    "package_state": package_state.METHOD,
    "service_state": service_state.METHOD,
    "sshd_effective_config": sshd_effective_config.METHOD,
    "sysctl_value": sysctl_value.METHOD,
}

ALIASES: Mapping[str, str] = {"file_permissions": "file_permission"}


def method(name: str) -> Method | None:
    """Return the method of a name or alias, None where there is none."""
    return METHODS.get(ALIASES.get(name, name))

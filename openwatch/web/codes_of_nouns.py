"""The codes of the nouns: where they occur is said by method and path."""

from __future__ import annotations

from openwatch.web.known import Known, known

_ASKS = r"/hosts/\{id\}/(discovery:run|connectivity:check)"

NOUNS: dict[str, Known] = {
    # -- signing in ----------------------------------------------------------------------------
    "auth.invalid_credentials": known(
        401,
        r"/auth/login|password:change|/auth/mfa",
        "User name or password is wrong, or the account disabled.",
    ),
    "auth.account_locked": known(
        403,
        r"/auth/login|password:change|/auth/mfa",
        "Too many failures; `unlock_at` says until when.",
    ),
    "auth.mfa_invalid": known(
        401, r"/auth/login|/auth/mfa", "The one-time code is wrong, old or used."
    ),
    "auth.mfa_not_enrolled": known(409, r"/auth/mfa", "There is no second factor."),
    "auth.refresh_invalid": known(
        401, r"/auth/refresh", "The refresh token is unknown, expired or revoked."
    ),
    "auth.refresh_reused": known(
        401,
        r"/auth/refresh",
        "The refresh token was exchanged before; the sign-in has been ended.",
        fault="policy",
    ),
    "auth.session_expired": known(
        401, r"/auth/refresh", "The sign-in has reached its absolute end."
    ),
    "auth.logout_incomplete": known(
        500, r"/auth/logout", "Signed out here, but it could not be recorded.", again=True
    ),
    "auth.password_policy": known(
        400, r"password|POST /api/v1/users$", "Too short, too long, or known to attackers."
    ),
    "validation.password_policy": known(
        400, r":reset-password", "Too short, too long, or known to attackers."
    ),
    "auth.mfa_reset_own": known(
        409, r"/mfa:reset", "One's own second factor changes against a code of it."
    ),
    "auth.mfa_unreadable": known(
        (401, 403, 409, 503),
        r"/auth/login|/auth/mfa",
        "The key that sealed the secret is lost.",
    ),
    "auth_policy.invalid": known(400, r"PUT /api/v1/auth-policy", "A time is out of bounds."),
    "policy.denied": known(
        403, r"/auth/mfa", "The policy demands a second factor.", fault="policy"
    ),
    # -- users, roles, tokens ------------------------------------------------------------------
    "users.not_found": known(404, r"/users/\{", "There is no such user."),
    "users.taken": known(409, r"POST /api/v1/users$", "The user name is taken."),
    "users.email_taken": known(
        409,
        r"POST /api/v1/users$|PATCH /api/v1/(users/\{id\}|auth/me)",
        "Somebody has the address.",
    ),
    "users.cannot_disable_self": known(
        409, r"/users/\{id\}(:disable)?$", "Nobody disables or deletes themselves."
    ),
    "users.last_admin": known(
        409,
        r"/users/|/roles",
        "Somebody must stay who may do everything.",
    ),
    "users.unknown_role": known(400, r"/users/|/tokens", "There is no such role."),
    "users.unknown_permission": known(
        400, r"/roles|POST /api/v1/tokens", "`invalid_permissions` are not permissions."
    ),
    "users.role_id_taken": known(409, r"/roles:create", "A role has this id."),
    "users.role_in_use": known(409, r"DELETE /api/v1/roles", "Users or tokens hold the role."),
    "authz.role_exceeds_grant": known(
        403,
        r"/users|/roles|/tokens",
        "It would give `exceeds_grant`, which the caller does not hold.",
        fault="policy",
    ),
    "resource.builtin": known(405, r"/roles/\{", "It comes with the program and stays."),
    "tokens.invalid": known(400, r"POST /api/v1/tokens", "The token cannot be made like this."),
    # -- the fleet -----------------------------------------------------------------------------
    "hosts.not_found": known(
        404,
        r"/hosts/\{|\{host_id\}|GET /api/v1/scans$",
        "There is no such host, or not for the caller.",
    ),
    "hosts.duplicate": known(
        409, r"(POST|PATCH) /api/v1/hosts", "A host of this environment has the name."
    ),
    "hosts.invalid_input": known(
        400, r"(POST|PATCH) /api/v1/hosts", "A field of the host cannot be used."
    ),
    "hosts.is_jump_host": known(
        409, r"DELETE /api/v1/hosts", "Others are reached through this host."
    ),
    "credentials.not_found": known(404, r"/credentials/\{", "There is no such credential."),
    "credentials.none_available": known(
        404, r"credentials:resolve|discovery:run", "No stored credential fits the host."
    ),
    "credentials.invalid_scope": known(
        400, r"(POST|PATCH) /api/v1/credentials", "scope and scope_id do not fit each other."
    ),
    "credentials.host_not_found": known(
        400, r"(POST|PATCH) /api/v1/credentials", "scope_id is no host."
    ),
    "credentials.invalid_key": known(
        400, r"(POST|PATCH) /api/v1/credentials", "The private key cannot be used."
    ),
    "credentials.missing_secret": known(
        400, r"(POST|PATCH) /api/v1/credentials", "auth_method needs a secret that is missing."
    ),
    "credentials.multiple_system_defaults": known(
        409, r"(POST|PATCH) /api/v1/credentials", "There is one default of the system."
    ),
    "credentials.unreadable": known(
        (409, 503),
        r"(POST|PATCH) /api/v1/credentials|credentials:resolve|discovery:run",
        "The key that sealed a secret is lost.",
    ),
    # -- asking a host while the caller waits ----------------------------------------------------
    "host.unreachable": known(
        502, _ASKS, "Nothing answered at the host's address.", fault="external", again=True
    ),
    "host.timeout": known(
        502, _ASKS, "The host did not finish in time.", fault="external", again=True
    ),
    "host.connection_lost": known(
        502, _ASKS, "The connection ended too early.", fault="external", again=True
    ),
    "host.ssh_authentication_failed": known(
        502, _ASKS, "The host refused the credential.", fault="external"
    ),
    "host.login_held_back": known(
        502, _ASKS, "The host refused this password a short while ago.", fault="external"
    ),
    "host.privilege_denied": known(502, _ASKS, "sudo refused.", fault="external"),
    "host.ssh_host_key_mismatch": known(
        502, _ASKS, "The host shows another key than the approved one.", fault="external"
    ),
    "host.ssh_host_key_unknown": known(
        502, _ASKS, "The host's key has not been approved.", fault="external"
    ),
    "host.transport_refused": known(
        403, _ASKS, "The configuration does not permit this transport.", fault="policy"
    ),
    # -- scans and what they found -------------------------------------------------------------
    "scans.not_found": known(
        404, r"/scans/\{", "There is no such scan, or no such rule in it."
    ),
    "conflict.scan_active": known(
        409,
        r"POST /api/v1/hosts/\{id\}/scans",
        "A scan of the host waits or runs; `existing_scan_id` names it.",
        again=True,
    ),
    "conflict.scan_ended": known(409, r"/scans/\{id\}:cancel", "The scan has ended already."),
    "history.expired": known(410, r"/posture", "The history before `floor` has been removed."),
}

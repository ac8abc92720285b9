"""Settings of the whole installation: how compliance is looked at, and the rules' variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.rules import decode, frameworks, resolve, variables
from openwatch.rules.types import Corpus
from openwatch.settings import store
from openwatch.settings.types import (
    COMPLIANCE,
    SCAN_VARIABLES,
    ComplianceConfig,
    ScanVariables,
    Setting,
    T,
)
from openwatch.web.operations import Context, Operation

_TOKEN = re.compile(r"[a-z0-9_.-]{1,64}")
_MOST_FRAMEWORKS = 32
# What is right nowhere before it was set: an address, a pool, a text of one's own.
_CONFIGURE_ME = frozenset({"rsyslog_remote_server", "chrony_ntp_pool", "banner_text"})
_Overrides: TypeAlias = Annotated[
    dict[
        Annotated[str, msgspec.Meta(max_length=128)],
        Annotated[str, msgspec.Meta(max_length=4096)],
    ],
    msgspec.Meta(max_length=200),
]


class ComplianceConfigUpdate(msgspec.Struct, frozen=True):
    """The framework to begin with ("" is none), and those offered; left out, these stay."""

    default_framework: str
    enabled_frameworks: tuple[str, ...] | UnsetType | None = UNSET


class FrameworksQuery(msgspec.Struct, frozen=True):
    """Whether also those that are not offered."""

    all: bool = False


class ComplianceFramework(msgspec.Struct, frozen=True):
    """A family of frameworks, and the benchmarks in it, one for each platform."""

    id: str
    label: str
    keys: tuple[str, ...]


class ComplianceFrameworksResponse(msgspec.Struct, frozen=True):
    """The families there are."""

    frameworks: tuple[ComplianceFramework, ...]


class ScanVariable(msgspec.Struct, frozen=True):
    """A variable of rules. `configure_me`: no default can be right for everybody."""

    name: str
    default: str
    value: str
    overridden: bool
    affects_rules: int
    rule_ids: tuple[str, ...]
    configure_me: bool


class ScanVariablesResponse(msgspec.Struct, frozen=True):
    """Every variable that a rule uses, by name."""

    variables: tuple[ScanVariable, ...]


class ScanVariableOverrides(msgspec.Struct, frozen=True):
    """All values that are not the default; a list is written with commas."""

    overrides: _Overrides


def get_compliance(ctx: Context) -> ComplianceConfig:
    """Return how compliance is looked at."""
    found = store.get(ctx.services.db, COMPLIANCE)
    ctx.etag(COMPLIANCE.key, found.version)
    return found.value


def put_compliance(ctx: Context, body: ComplianceConfigUpdate) -> ComplianceConfig:
    """Set how compliance is looked at; it holds at once."""
    db = ctx.services.db
    with db.atomic():
        enabled = body.enabled_frameworks or ()
        if body.enabled_frameworks is UNSET or body.enabled_frameworks is None:
            enabled = store.hold(db, COMPLIANCE).value.enabled_frameworks
        value = ComplianceConfig(body.default_framework, tuple(dict.fromkeys(enabled)))
        _require_frameworks(value)
        return _put(ctx, COMPLIANCE, value)


def list_frameworks(ctx: Context, query: FrameworksQuery) -> ComplianceFrameworksResponse:
    """Return the families of frameworks that are offered."""
    config = store.get(ctx.services.db, COMPLIANCE).value
    families: dict[str, list[str]] = {}
    for one in ctx.services.corpus.frameworks.values():
        if query.all or config.offers(one.id, one.family):
            families.setdefault(one.family, []).append(one.id)
    return ComplianceFrameworksResponse(
        tuple(
            ComplianceFramework(family, frameworks.label(family), tuple(sorted(keys)))
            for family, keys in sorted(families.items())
        )
    )


def get_variables(ctx: Context) -> ScanVariablesResponse:
    """Return the variables that rules use, with the value that holds for the fleet."""
    found = store.get(ctx.services.db, SCAN_VARIABLES)
    ctx.etag(SCAN_VARIABLES.key, found.version)
    corpus = ctx.services.corpus
    return ScanVariablesResponse(
        tuple(
            ScanVariable(
                name=name,
                default=(default := variables.as_text(corpus.variables[name])),
                value=found.value.overrides.get(name, default),
                overridden=name in found.value.overrides,
                affects_rules=len(rules),
                rule_ids=tuple(sorted(rules)),
                configure_me=name in _CONFIGURE_ME,
            )
            for name, rules in sorted(_uses(corpus).items())
        )
    )


def put_variables(ctx: Context, body: ScanVariableOverrides) -> ScanVariableOverrides:
    """Set the variables that are not at their default; the next scan of a host judges by them."""
    corpus = ctx.services.corpus
    _require_usable(corpus, body.overrides)
    kept = {
        name: text
        for name, text in body.overrides.items()
        if variables.resolve({name: text}, corpus.variables)[name] != corpus.variables[name]
    }
    return ScanVariableOverrides(dict(_put(ctx, SCAN_VARIABLES, ScanVariables(kept)).overrides))


def _put(ctx: Context, setting: Setting[T], value: T) -> T:
    after = store.put(
        ctx.services.db,
        setting,
        value,
        actor=ctx.actor,
        require=lambda before: ctx.require_match(setting.key, before.version),
    )
    ctx.etag(setting.key, after.version)
    return after.value


def _require_frameworks(value: ComplianceConfig) -> None:
    default, enabled = value.default_framework, value.enabled_frameworks
    if len(enabled) > _MOST_FRAMEWORKS:
        raise _invalid("enabled_frameworks", f"can name at most {_MOST_FRAMEWORKS} frameworks")
    for field, name in [("enabled_frameworks", one) for one in enabled] + (
        [("default_framework", default)] if default else []
    ):
        if not _TOKEN.fullmatch(name):
            raise _invalid(field, "holds 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`")
    if default and not value.offers(default, default):
        raise _invalid("default_framework", "must be among enabled_frameworks")


def _require_usable(corpus: Corpus, given: Mapping[str, str]) -> None:
    """Raise InvalidInput for a name no rule uses, and for a value that one of them refuses."""
    used = _uses(corpus)
    for name in given:
        if name not in used:
            near = decode.nearest(name, used)
            raise _invalid(name, f"is no variable that a rule uses{near}")
    try:
        resolve.under(corpus, given)
    except errors.RuleError as refusal:
        guilty = next(
            (n for n, text in given.items() if _refused(corpus, n, text)), "overrides"
        )
        raise _invalid(guilty, f"cannot be used: {refusal.bare}") from None


def _refused(corpus: Corpus, name: str, text: str) -> bool:
    try:
        resolve.under(corpus, {name: text})
    except errors.RuleError:
        return True
    return False


def _uses(corpus: Corpus) -> dict[str, list[str]]:
    """Return the rules that each variable stands in."""
    found: dict[str, list[str]] = {}
    for rule, written in corpus.templates.items():
        for name in written.names:
            found.setdefault(name, []).append(rule)
    return found


def _invalid(field: str, why: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{field} {why}.", code="validation.field_invalid", field=field)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getComplianceFrameworks",
        method="GET",
        path="/api/v1/compliance/frameworks",
        permission=Permission.HOST_READ,
        handler=list_frameworks,
        summary="List the families of frameworks",
        query=FrameworksQuery,
        returns=ComplianceFrameworksResponse,
        tag="compliance",
    ),
    Operation(
        id="getSystemComplianceConfig",
        method="GET",
        path="/api/v1/system/compliance/config",
        permission=Permission.SYSTEM_READ,
        handler=get_compliance,
        summary="Read which frameworks are offered, and which one to begin with",
        returns=ComplianceConfig,
        tag="system",
    ),
    Operation(
        id="putSystemComplianceConfig",
        method="PUT",
        path="/api/v1/system/compliance/config",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=put_compliance,
        summary="Set which frameworks are offered, and which one to begin with",
        body=ComplianceConfigUpdate,
        returns=ComplianceConfig,
        takes_if_match=True,
        tag="system",
    ),
    Operation(
        id="getSystemScanVariables",
        method="GET",
        path="/api/v1/system/scan/variables",
        permission=Permission.SYSTEM_READ,
        handler=get_variables,
        summary="Read the variables that rules use",
        returns=ScanVariablesResponse,
        tag="system",
    ),
    Operation(
        id="putSystemScanVariables",
        method="PUT",
        path="/api/v1/system/scan/variables",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=put_variables,
        summary="Set the rules' variables for the whole fleet",
        body=ScanVariableOverrides,
        returns=ScanVariableOverrides,
        takes_if_match=True,
        tag="system",
    ),
)

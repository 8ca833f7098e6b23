"""The tenants of a run: their ids, their credentials, and how they are made in the target.

Ids derive from the run, or the service gives them; either way every run has tenants of its own. API keys and webhook
secrets are random, stay in memory and are passed only to the target. A profile may instead name fixed tenants, whose
credentials come from the environment.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from rig.errors import ConfigError, Unavailable
from rig.machine.child import run_to_end
from rig.model import RunKey, Tenant
from rig.profile import FixedTenant, Profile, secret_from
from rig.requests.sender import Credentials
from rig.requests.signer import write_key
from rig.target.postgres.connection import connect, lift_timeouts
from rig.target.secrets import Secrets
from rig.text import last_lines

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:rig:tenants")
_COMMAND_TIMEOUT_S = 60.0
_OWN_ID = "tenant_id"
"""The column in which a statement returns the id that the service gave a tenant."""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Tenants and, separately, their credentials by tenant name."""

    tenants: tuple[Tenant, ...]
    credentials: Mapping[str, Credentials]


def provision(
    profile: Profile,
    run: RunKey,
    names: Sequence[str],
    admin_dsn: str,
    environ: Mapping[str, str],
    known: Secrets | None = None,
) -> Tenancy:
    """Make tenants with these names; ``known`` learns their credentials before they are passed on.

    ConfigError where the statement or command fails or a fixed tenant is missing, Unavailable without the database.
    """
    known = known or Secrets()
    if not profile.tenants.are_made:
        tenancy = _use_existing_tenants(profile, names, environ)
        _learn(known, tenancy.credentials)
        return tenancy
    tenants = tuple(Tenant(name, derive_id(run, name)) for name in names)
    credentials = {
        tenant.name: Credentials(secrets.token_urlsafe(24), _secrets(profile, environ), tenant.id) for tenant in tenants
    }
    _learn(known, credentials)
    parameters = [_parameters(tenant, credentials[tenant.name]) for tenant in tenants]
    if profile.tenants.provision_sql is not None:
        returned = _by_sql(profile.tenants.provision_sql, parameters, admin_dsn)
        tenants = tuple(Tenant(tenant.name, own or tenant.id) for tenant, own in zip(tenants, returned, strict=True))
        credentials = {tenant.name: replace(credentials[tenant.name], tenant=tenant.id) for tenant in tenants}
    else:
        _by_command(profile.tenants.provision_command or (), parameters, environ)
    return Tenancy(tenants, credentials)


def check_tenants(profile: Profile, names: Sequence[str], environ: Mapping[str, str]) -> None:
    """ConfigError where a fixed tenant or a secret of the environment is missing. Nothing is made yet."""
    if profile.tenants.are_made:
        _secrets(profile, environ)
    else:
        _use_existing_tenants(profile, names, environ)


def derive_id(run: RunKey, name: str) -> str:
    """The id that the rig gives a tenant. Nobody else has it, so whoever has it was made by the run."""
    return str(uuid.uuid5(_NAMESPACE, f"{run.seed}/{run.run_id}/{name}"))


def _learn(known: Secrets, credentials: Mapping[str, Credentials]) -> None:
    for own in credentials.values():
        known.learn(own.api_key, *own.secrets.values())


def _secrets(profile: Profile, environ: Mapping[str, str]) -> dict[str, str]:
    """The webhook secrets of one tenant: those of the environment, and random ones where none is named there."""
    own: dict[str, str] = {}
    for route in profile.routes:
        made = write_key(route, secrets.token_bytes(24))
        if route.secret_env is not None:
            own[route.secret] = secret_from(environ, route.secret_env, f"the webhook secret {route.secret!r}")
        own.setdefault(route.secret, made)
        if "old_signature" in route.placeholders:
            old = route.old_secret_env
            purpose = f"the old webhook secret {route.secret!r}"
            own[f"{route.secret}.old"] = (
                write_key(route, secrets.token_bytes(24)) if old is None else secret_from(environ, old, purpose)
            )
    return own


def _use_existing_tenants(profile: Profile, names: Sequence[str], environ: Mapping[str, str]) -> Tenancy:
    """The tenants of the profile; where it has none, one without an id."""
    fixed = profile.tenants.fixed or (None,)
    if len(fixed) < len(names):
        raise ConfigError(
            f"profile {profile.name!r} has {len(profile.tenants.fixed) or 'no'} tenants, this run needs {len(names)} "
            f"({', '.join(names)}); add [[tenants.fixed]] entries, or run less (--only, --trials, --tenants; with "
            "locust no S8)"
        )
    missing = [route.name for route in profile.routes if route.needs_secret and route.secret_env is None]
    if missing:
        raise ConfigError(f"route {missing[0]!r} is signed and the rig makes no tenant: it needs secret_env")
    shared = _secrets(profile, environ)
    has_column = profile.truth.canonical.tenant is not None
    pairs = list(zip(names, fixed, strict=False))
    return Tenancy(
        # Without a column for it no row carries the id.
        tuple(Tenant(name, tenant.id if tenant and has_column else "") for name, tenant in pairs),
        {name: Credentials(_api_key(environ, tenant), shared, tenant.id if tenant else "") for name, tenant in pairs},
    )


def _api_key(environ: Mapping[str, str], tenant: FixedTenant | None) -> str:
    if tenant is None or tenant.api_key_env is None:
        return ""
    key = secret_from(environ, tenant.api_key_env, f"the API key of {tenant.id}")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigError(
            f"environment variable {tenant.api_key_env} holds what no header can carry (a line end, a space around it, "
            "or a character beyond ASCII); it must hold the API key alone"
        )
    return key


def _parameters(tenant: Tenant, credentials: Credentials) -> dict[str, str]:
    return {
        "tenant_id": tenant.id,
        "name": tenant.name,
        "api_key": credentials.api_key,
        "api_key_sha256": hashlib.sha256(credentials.api_key.encode()).hexdigest(),
        "secrets": json.dumps(dict(credentials.secrets)),
    }


def _by_sql(statement: str, parameters: Sequence[Mapping[str, str]], admin_dsn: str) -> list[str | None]:
    """Run the statement for each tenant; the id that the service gave it, where the statement returns one."""
    ids: list[str | None] = []
    try:
        with connect(admin_dsn, "rig-tenants", autocommit=False) as connection:
            lift_timeouts(connection)
            for values in parameters:
                # The statement comes from the profile, which belongs to whoever owns the target.
                cursor = connection.execute(statement.encode(), values)
                ids.append(_own_id(cursor))
    except psycopg.OperationalError as error:
        raise Unavailable(f"the truth database cannot be reached to make tenants: {str(error).strip()}") from None
    except psycopg.Error as error:
        # The server's details are left out: they print the failing row, which holds the tenant's secrets.
        said = error.diag.message_primary or str(error).strip()
        raise ConfigError(f"tenants.provision_sql failed: {said}") from None
    if len(set(filter(None, ids))) != len([one for one in ids if one]):
        raise ConfigError("tenants.provision_sql returned the same tenant_id twice; each call must make another tenant")
    return ids


def _own_id(cursor: psycopg.Cursor[tuple[Any, ...]]) -> str | None:
    names = [column.name for column in cursor.description or ()]
    row = cursor.fetchone() if _OWN_ID in names else None
    return None if row is None else str(row[names.index(_OWN_ID)])


def _by_command(command: Sequence[str], parameters: Sequence[Mapping[str, str]], environ: Mapping[str, str]) -> None:
    for values in parameters:
        own = {f"TENANT_{name.upper().removeprefix('TENANT_')}": value for name, value in values.items()}
        try:
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            done = run_to_end(command, _COMMAND_TIMEOUT_S, env={**environ, **own}, **pipes)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"tenants.provision_command failed: {error}") from None
        if done.returncode != 0:
            said = last_lines(done.stderr)
            raise ConfigError(f"tenants.provision_command ended with exit code {done.returncode}: {said}")

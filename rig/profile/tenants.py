"""Who the tenants of the target are, and how they are made."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from rig.profile.fields import Command, Section, Text, Variable


class FixedTenant(Section):
    """A tenant that already exists."""

    id: Text
    """The id in its rows, spelt as PostgreSQL prints it (a uuid in small letters, a number without leading zeros)."""
    api_key_env: Variable | None = None
    """Environment variable that holds its API key. Needed where requests carry it (``headers.tenant_key``, or
    ``<api_key>`` in a route)."""


class Tenants(Section):
    """How tenants are made. Leave the section out for a service without tenants.

    They are made: by one SQL statement for each, over the truth DSN; by a command; or not at all.

    The statement gets ``%(tenant_id)s``, ``%(name)s``, ``%(api_key)s``, ``%(api_key_sha256)s`` and ``%(secrets)s`` (a
    JSON object of webhook secrets by the names that the routes use). A command gets the same as environment variables
    TENANT_ID, TENANT_NAME, TENANT_API_KEY, TENANT_API_KEY_SHA256 and TENANT_SECRETS. If the service
    assigns the ids, end the statement with ``RETURNING … AS tenant_id``. A fixed tenant exists already. It names the
    environment variable that holds its API key, and secrets come from the routes' ``secret_env``.
    """

    provision_sql: Text | None = None
    """One statement, run once for each tenant. If it returns a column ``tenant_id``, that is the id in the rows."""
    provision_command: Command | None = None
    """Program and arguments, run once for each tenant."""
    rows: tuple[Text, ...] = ()
    """Columns, as ``table.column``, that hold the id of a tenant that was made so. ``rig clean`` removes these rows
    after the events, in this order. It leaves and names a tenant whose id the service gave: it may be an older one."""
    fixed: tuple[FixedTenant, ...] = ()
    """Tenants that exist already. With one, what takes two is NOT-RUN; with six each trial of S8 has its own."""

    @property
    def are_made(self) -> bool:
        """Whether the rig makes them, as many as it wants."""
        return bool(self.provision_sql or self.provision_command)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(bool(way) for way in (self.provision_sql, self.provision_command, self.fixed)) > 1:
            raise ValueError("give one of provision_sql, provision_command and [[tenants.fixed]]")
        if self.rows and not self.are_made:
            raise ValueError("rows belong to provision_sql or provision_command: no tenant is made without them")
        if wrong := [name for name in self.rows if "." not in name.strip(".")]:
            raise ValueError(f'rows: {wrong[0]!r} must be "table.column"')
        if len({tenant.id for tenant in self.fixed}) != len(self.fixed):
            raise ValueError("two fixed tenants have the same id")
        return self

"""Make the verifier's tables: ``python -m fleet_jwks``, with two addresses in the environment.

``MIGRATION_DATABASE_URL`` is the owner's, ``DATABASE_URL`` the verifier's: its role gets what it needs.
"""

from __future__ import annotations

import click

from fleet_jwks.store import create_schema, role_of


@click.command(help=__doc__)
@click.option("--owner", envvar="MIGRATION_DATABASE_URL", required=True, help="Best given in the environment.")
@click.option("--runtime", envvar="DATABASE_URL", required=True, help="Best given in the environment.")
def main(owner: str, runtime: str) -> None:
    """Make the tables where they do not exist yet."""
    create_schema(owner, role_of(runtime))


if __name__ == "__main__":
    main()

"""Make the verifier's tables: ``python -m fleet_jwks``, with two addresses in the environment.

``MIGRATION_DATABASE_URL`` is the owner's, ``DATABASE_URL`` the verifier's: its role gets what it needs. ``--sql`` only
prints the statements, for a migration of your own.
"""

from __future__ import annotations

import click

from fleet_jwks.store import ROLE_NEEDS, SCHEMA, create_schema, role_of


def _print_sql(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        click.echo(f"{SCHEMA.strip()}\n-- for the role of the service:\n{ROLE_NEEDS.format('the_role')};")
        context.exit()


@click.command(help=__doc__)
@click.option("--sql", is_flag=True, is_eager=True, expose_value=False, callback=_print_sql, help="Print it only.")
@click.option("--owner", envvar="MIGRATION_DATABASE_URL", required=True, help="Best given in the environment.")
@click.option("--runtime", envvar="DATABASE_URL", required=True, help="Best given in the environment.")
def main(owner: str, runtime: str) -> None:
    """Make the tables where they do not exist yet."""
    create_schema(owner, role_of(runtime))


if __name__ == "__main__":
    main()

"""``rig clean``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rig.cli.options import PATH, json_option
from rig.cli.packs import introduce_packs
from rig.errors import ConfigError, ExitCode
from rig.text import one_line

if TYPE_CHECKING:
    from rig.verbs.clean import Cleaning


@click.command("clean")
@click.argument("pack", type=PATH)
@click.option("--yes", is_flag=True, help="Remove the rows. Without this they are only shown.")
@click.option("--cascade", is_flag=True, help="Let foreign keys remove or change the rows that refer to them, too.")
@click.option("--keys", type=PATH, help="Write the keys to remove by hand into this file, as SQL to paste.")
@json_option
def clean(pack: Path, yes: bool, cascade: bool, keys: Path | None, as_json: bool) -> int:
    """Show the rows that a run left in a database that you keep.

    With --yes they are removed, in one transaction: rows with keys of the run, and tenants that it made.
    """
    from rig.profile import environment
    from rig.verbs.clean import clean

    introduce_packs(pack)
    cleaning = clean(pack, environment(), remove=yes, cascade=cascade)
    if keys is not None:
        try:
            keys.write_text(cleaning.list_keys())
        except OSError as error:
            raise ConfigError(f"{keys} cannot be written: {error}; give --keys another file") from None
    if as_json:
        click.echo(json.dumps(cleaning.document(), indent=2))
    else:
        _print(cleaning, shlex.quote(str(pack)))
    return ExitCode.PASS


def _print(cleaning: Cleaning, pack: str) -> None:
    left = cleaning.leftovers
    for each in left.rows:
        what = "removed" if cleaning.removed and not each.by_hand else "by hand" if each.by_hand else "to remove"
        keys = ", ".join(each.first_keys) + (", …" if each.rows > len(each.first_keys) > 0 else "")
        tenant = f"tenant {cleaning.name(each)}" if each.tenant else "no tenant"
        click.echo(one_line(f"{what:<9} {each.table:<30} {tenant:<16} {each.rows:>9,} rows  {keys}"))
        if each.by_hand:
            click.echo(f"          {each.by_hand}")
    for referring in left.referring:
        click.echo(one_line(f"refers    {referring}"))
    for note in cleaning.notes:
        click.echo(one_line(f"note      {note}"))
    click.echo(_conclusion(cleaning, pack))


def _conclusion(cleaning: Cleaning, pack: str) -> str:
    left = cleaning.leftovers
    rows = sum(each.rows for each in left.removable)
    by_hand = sum(each.rows for each in left.by_hand)
    hand = f"; {by_hand:,} rows are left to remove by hand (--keys FILE writes their keys)" if by_hand else ""
    if cleaning.removed:
        return f"{rows:,} rows were removed{hand}"
    if not rows:
        return f"nothing left that the rig can remove{hand}" if hand else "nothing left"
    if any(each.refuses for each in left.referring):
        return f"nothing was removed: other rows refer to these {rows:,}; remove or change those first{hand}"
    cascade = " --cascade" if left.referring else ""
    return f"nothing was removed yet; to remove these {rows:,} rows: rig clean {pack} --yes{cascade}{hand}"

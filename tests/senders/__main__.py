"""Prints docs/senders.md."""

from tests.senders.table import page

print(page(), end="")  # noqa: T201  # it is what the program is for

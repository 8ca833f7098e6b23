"""The command line: verbs only. Machine output goes to stdout, progress and messages to stderr.

One module a verb, or a few that belong together. Each verb turns options into a job, hands it on, and turns the result
into words and an exit code (``rig.errors.ExitCode``). Heavy modules are imported inside the verbs that need them, so
that ``rig --help`` answers at once.
"""

from rig.cli.main import cli, entry, main

__all__ = ["cli", "entry", "main"]

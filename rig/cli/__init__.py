"""The command line: verbs only. Machine output goes to stdout, progress and messages to stderr.

One module a family of verbs; every verb builds a job, hands it on and turns what comes back into words and an exit code
(``rig.errors.ExitCode``). The heavy modules are imported by the verbs that need them, so that ``rig --help`` answers at
once.
"""

from rig.cli.main import cli, entry, main

__all__ = ["cli", "entry", "main"]

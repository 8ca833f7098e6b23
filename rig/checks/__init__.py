"""Pure checkers: the evidence of a run in, gates out. ``rig.checks.judge`` runs them all."""

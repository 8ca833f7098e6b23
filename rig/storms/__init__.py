"""Storms: a fleet of processes released at one instant, and a ledger outside it that counts what happened."""

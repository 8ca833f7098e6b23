"""Stampedes: a fleet of processes let loose at one instant, and a ledger outside it that counts what happened."""

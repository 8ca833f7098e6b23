"""What is sent, as values: one file per scenario, ``ladder`` puts them in order."""

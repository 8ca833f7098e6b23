"""What each race test counts, what its gates claim, and their verdicts: a module for each test."""

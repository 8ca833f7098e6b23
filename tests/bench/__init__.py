"""Benchmarks: they measure, on a quiet machine; ``make bench`` runs them."""

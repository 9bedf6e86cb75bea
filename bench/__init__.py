"""Benchmarks, run by hand: ``python -m bench`` runs all, ``python -m bench.NAME`` one of them."""

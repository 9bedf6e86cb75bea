"""Tests of the simulated chain and its node."""

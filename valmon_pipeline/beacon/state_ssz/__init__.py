"""Beacon states in SSZ (``/eth/v2/debug/beacon/states``), read by offset without copies.

``layout`` describes the states of each fork and where their fields lie; ``decode`` checks a buffer
against that and returns views.
"""

"""Consensus rules as pure functions: columns in, columns out, no I/O.

Belongs here: what the Ethereum consensus specification says. Does not belong here: how data are
fetched (``beacon``), stored (``storage``) or judged against peers (``scoring``).
"""

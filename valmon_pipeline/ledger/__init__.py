"""The balance identity: what moved each validator's balance, to the gwei, and what is left over.

Belongs here: postings, their order, sums and remainders. Does not belong here: how amounts come
about (``chain``) or where they are read (``assets``).
"""

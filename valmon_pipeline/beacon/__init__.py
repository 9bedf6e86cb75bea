"""The shell around a beacon node: HTTP in, validated columns out.

Belongs here: endpoints, wire formats, retries, rate limits, archives of answers. Does not belong
here: what the answers mean for a validator (``chain``, ``scoring``) or where they are stored
(``storage``).
"""

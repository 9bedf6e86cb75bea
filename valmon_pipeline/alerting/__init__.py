"""Pure: which validators and groups fail, since when, and what becomes of an alert about it.

No I/O. Frames of epochs in (see ``judgements``), decisions about alerts out (see ``life_cycle``).
"""

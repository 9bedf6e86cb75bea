"""How good a validator's work was: pure functions of facts, comparable between validators.

Belongs here: effectiveness, ratios, ranks. Does not belong here: what the chain's rules say
(``chain``) or where facts come from.
"""

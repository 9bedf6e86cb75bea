"""Client profiles: recorded answers, within a client's windows of time and with its refusals.

One file per client declares what that client refuses, when, and with which words; ``profile``
applies it before and after the recorded answer. Does not belong here: answers themselves.
"""

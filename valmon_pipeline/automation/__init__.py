"""What starts work by itself: sensors that follow the chain, and the plans they act on.

Sensors do their work in the tick, in the warm code server: bounded requests, bounded time, and a
cursor that may be delivered twice. What is due is computed from chain and tables, so that nothing
depends on having been awake.
"""

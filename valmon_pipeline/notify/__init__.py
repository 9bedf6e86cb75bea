"""Delivery of alerts: what is written to the outbox, and how it is sent (Apprise).

Messages are rows of ``alert_deliveries``, written in the transaction of the change that they tell
of (``notifier``). Rounds in a thread of their own send them (``sender``), so that a channel that
hangs delays no epoch and no alert.
"""

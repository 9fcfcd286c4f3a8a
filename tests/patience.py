"""How long a test waits for an expected event, however slow the machine is."""

PATIENCE = 300.0
"""Seconds. A test that reaches this hangs; nothing that works takes as long."""

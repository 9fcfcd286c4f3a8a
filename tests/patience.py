"""How long a test waits for what must happen, however slow the machine is."""

PATIENCE = 300.0
"""Seconds. A test that runs into it hangs; nothing that works takes so long."""

"""The command line: `pyoci-flask serve`, `check` and `copy`."""

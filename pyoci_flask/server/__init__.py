"""Everything that concerns gunicorn: its worker, the start, addresses, limits and its log."""

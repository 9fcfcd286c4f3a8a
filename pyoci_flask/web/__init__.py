"""HTTP in, HTTP out: the Flask blueprints."""

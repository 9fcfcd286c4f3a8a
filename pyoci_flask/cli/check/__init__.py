"""`check`: what a registry lets these credentials do, step by step."""

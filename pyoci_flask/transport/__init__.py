"""Talks HTTP to registries: pooled connections, token authentication and the egress guard."""

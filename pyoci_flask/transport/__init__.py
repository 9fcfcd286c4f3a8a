"""HTTP to registries: pooled connections, token authentication, egress guard."""

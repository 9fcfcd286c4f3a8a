"""The Python package index over OCI repositories: value types and one file per operation."""

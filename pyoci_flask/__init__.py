"""PyOCI for Flask: any OCI container registry as a private Python package index."""

__version__ = "0.1.0"

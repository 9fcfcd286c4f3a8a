"""An OCI distribution client: references, documents and the calls of one repository."""

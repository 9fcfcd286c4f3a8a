"""`yank` and `delete`: change what is published, directly in a registry, without a server."""

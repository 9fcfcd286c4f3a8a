"""`yank` and `delete`: change what is published, straight in a registry, without a server."""

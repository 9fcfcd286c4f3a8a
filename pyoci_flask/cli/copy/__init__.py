"""`copy`: packages from one index to another, Simple API in, upload API out; without Flask."""

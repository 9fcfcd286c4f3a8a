"""`copy`: read packages with the Simple API and publish them with the upload API."""

"""The APIs of an index: Simple API, legacy JSON API, uploads, files and changes."""

"""The index for programs: the Simple API, the legacy JSON API, uploads, files and changes."""

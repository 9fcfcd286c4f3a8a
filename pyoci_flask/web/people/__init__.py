"""The web pages: configuration, projects, versions and errors."""

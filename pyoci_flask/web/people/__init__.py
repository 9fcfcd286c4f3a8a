"""The pages for people: configuration, projects, versions and errors."""

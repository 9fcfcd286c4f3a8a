"""Measure what the application costs over its floors: `python -m benchmarks`, or `make bench`.

docs/performance.md explains what the rows mean and how they are measured.
"""

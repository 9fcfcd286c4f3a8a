"""What the application costs over its floors: `python -m benchmarks`, or `make bench`.

docs/performance.md tells what the rows mean and how they are measured.
"""

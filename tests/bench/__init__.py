"""Benchmarks: `make bench`, or `python -m tests.bench [--quick] [--only NAME]`.  No tests; pytest collects none of it.

Each row is one figure with what it is measured against in the same run, since machines differ: a ratio, or a time or
size beside that of a bare loop.  What runs is the real daemon as a process, with a driver that comes by entry point;
servers and baselines are processes of their own.
"""

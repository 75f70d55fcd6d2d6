"""Fuzzing of fuse and lower: see run.py."""

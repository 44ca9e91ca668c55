"""Vendors as processes of their own, for tests, demonstrations and benchmarks. They know nothing of the slices."""

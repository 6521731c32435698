"""What the benchmarks share: jobs, timing, comparison with another library, tables."""

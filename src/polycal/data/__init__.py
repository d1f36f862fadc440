"""Read models, instruction data and benchmarks from where they are."""

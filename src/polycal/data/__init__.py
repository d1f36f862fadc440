"""Get models, instruction data and benchmarks from the hub or from files, in polycal's formats."""

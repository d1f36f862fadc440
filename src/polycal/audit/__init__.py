"""Compare the results on disk with what a configuration asks for."""

"""A study's configuration, and the grid of cells that it describes."""

"""The configuration of a study and the grid it describes."""

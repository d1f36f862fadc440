"""Names of the formats of questions without options. Nothing is imported here, so that a configuration can be checked."""

OPEN, MKQA = "open", "mkqa"
FORMATS = (OPEN, MKQA)
"""A file of one's own, and MKQA."""

"""Names of the formats of questions without options. Nothing is imported here, so that a configuration can be checked."""

OPEN, MKQA = "open", "mkqa"
FORMATS = (OPEN, MKQA)
"""A user's own file, and MKQA: a benchmark of questions in many languages with accepted answers (``open_formats``)."""

"""Score records from logs of other harnesses: one module per tool, and what they share."""

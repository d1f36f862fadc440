"""Make score records from logs of other evaluation harnesses: one module per tool, and the shared parts."""

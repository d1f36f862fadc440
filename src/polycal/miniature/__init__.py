"""A synthetic world with known answers, and tiny models trained on it."""

"""The miniature: a synthetic world with known answer distributions, and tiny models trained on it."""

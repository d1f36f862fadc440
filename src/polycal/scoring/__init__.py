"""Compute a model's log-likelihoods of candidate answers, its next-token predictions and prompt embeddings."""

"""Numbers from score records, embeddings and next-token scores."""

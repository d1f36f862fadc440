"""Analysis of a study: metrics, intervals and tests from scores, embeddings and next-token scores."""

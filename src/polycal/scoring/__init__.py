"""What a model predicts: candidate answers, next tokens, prompt embeddings."""

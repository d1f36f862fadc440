"""Fine-tune models."""

"""What other systems' configurations become."""

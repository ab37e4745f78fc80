"""The dense student of D2LLM: attention pooling, an interaction module, and their training."""

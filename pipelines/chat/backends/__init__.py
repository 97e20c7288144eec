"""What runs a language model: llama.cpp, transformers, or another server."""

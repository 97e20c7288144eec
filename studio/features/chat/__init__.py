"""What stands behind the chat tab and the API: conversations, answers and keys."""

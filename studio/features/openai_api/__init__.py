"""The studio as a server of OpenAI's protocol, for other programs, under ``/v1``."""

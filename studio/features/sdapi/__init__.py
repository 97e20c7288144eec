"""The studio as a server of A1111's protocol, for other programs, under ``/sdapi/v1``."""

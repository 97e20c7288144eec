"""Painting for programs that speak MCP (https://modelcontextprotocol.io)."""

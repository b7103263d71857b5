"""Client and server."""

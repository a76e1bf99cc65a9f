"""The engine's door: protocol, server, client."""

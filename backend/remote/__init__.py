"""The only rooms that import asyncssh: connections, commands, and what libvirt does not tell."""

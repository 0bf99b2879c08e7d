"""The Python client: its words, its waits, and its way through the whole house."""

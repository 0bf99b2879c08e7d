"""The fault matrix: what fails at a provider, and what becomes of it for clients and limits."""

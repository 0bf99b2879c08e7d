"""The means by which events travel: scripts, engine, replies and the embedded server."""

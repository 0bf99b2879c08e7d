"""The HTTP routes, asked by raw sockets and by the official clients."""

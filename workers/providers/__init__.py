"""One module for each kind of provider, and the simulated one, an HTTP server of its own.

A provider turns our call into its API's, and its answers and errors into ours.
"""

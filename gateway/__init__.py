"""The HTTP host: it accepts requests into the streams and gives the replies back.

It knows no worker and no provider; each module serves one family of routes.
"""

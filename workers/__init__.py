"""The four hops, a file each: `route`, `gate`, `call`, `respond`.

A hop takes an event and returns its outcome; `app` is what `dramatiq` and `sluice workers` run.
"""

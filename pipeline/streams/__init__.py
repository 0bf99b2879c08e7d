"""Redis Streams as the carrier: the broker, the engine that runs hops, and the scripts they share.

What a folder of queues elsewhere spreads over workers is here one atomic step per transition.
"""

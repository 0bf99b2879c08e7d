"""What `StreamBroker` is made of: a queue's keys, its consumer, and the scripts behind both.

Nothing here is used by the hops; they have an engine of their own.
"""

-- Counts a queue's messages: ready, held and delayed. A transaction would be refused when memory is
-- full, and two commands would miss a message that moves between them.
return redis.call("XLEN", stream) + redis.call("ZCARD", delayed)

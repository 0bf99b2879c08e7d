"""The simulated provider: an HTTP server that calls no model.

Begin with `app`, which finds the wire form (`form`, and a file for each) and the behaviour that is
wished for (`faults`); `answer` carries it out, by the pace of `pace` and the limits of `limits`.
"""

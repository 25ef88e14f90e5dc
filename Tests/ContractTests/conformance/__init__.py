"""A conformance suite for RFC 6455 and RFC 7692, as data: each case is a script of what a client
sends and what has to come back. `player` plays one over a socket, `catalogue` knows them all, and
`test_conformance.py` runs them against real nodes."""

"""What the contract tests are made of: processes, clients and servers that know nothing of Skein's
own code. Everything waits by polling with a generous bound; nothing relies on being quick."""

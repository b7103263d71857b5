"""One runner a library. A runner is a script of its own process, so that a peer may need another Python."""

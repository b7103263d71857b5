"""Two-party inference on masked wires, with a dealer of correlated randomness; semi-honest.

`compile.py` brings a placed graph to a `Program` of protocol steps; `dealer.py` makes what the parties need
before the run, `party.py` runs them. `local.py`, `linear.py`, `compare.py` and `waves.py` hold the
protocols, each with the code of the dealer and of a party side by side. Nothing here knows of sockets: see
`serve/two_party`.
"""

"""Client and server.

`ckks_server.make_server` and `ckks_client.make_keys`, `ckks_client.connect` are the way in. They stand in
separate modules so that a server process never loads the code that holds a secret key.
"""

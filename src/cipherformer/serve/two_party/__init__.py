"""Two-party inference between processes: dealer, server and client over mutual TLS 1.3.

`tls.py`: key pairs and pinned peers. `connection.py`: typed, bounded frames with signs of life. `folder.py`:
what each role has on disk. `journal.py`: versions that were used up. `roles.py`, `client.py`,
`running.py`: what the three do.
`local.py`: all on one machine.
"""

"""The native CKKS engine behind the slot algebra. Only this package imports the engine.

`client` holds the secret key; `server` never touches it. They are imported separately on purpose.
"""

"""The `sidle` command: parse, call, print. `main` knows the commands, one module a group."""

"""The command line of the flows: parameters, messages, exit codes, the server."""

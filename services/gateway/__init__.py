"""The gateway: the sockets of clients. It speaks the drivers' protocol and HTTP, and evaluates nothing."""

"""PhotonDB: the library that all services share; nothing in it listens on a socket."""

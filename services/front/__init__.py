"""A front: a gateway and a query service in one process, which call each other as the objects that they are, and reach
storage, auth and the changefeed service over RPC. There may be as many of them as cores can be had for them."""

@0xe62963d053bc4bae;
# The interface of `gateway` to the other services. Version 2.
# Only ever extended: see the rule in common.capnp.

using Common = import "common.capnp";

interface Gateway extends(Common.Service) {
  status @0 (context :Common.Context) -> StatusResult;
}

struct StatusResult {
  union {
    ok @0 :Status;
    error @1 :Common.Error;
  }
}

struct Status {
  driverPort @0 :UInt16;
  httpPort @1 :UInt16;
  connections @2 :UInt32;  # client connections that are open
}

@0x9083c4938356e6ef;
# The interface of `auth`: who somebody is, and what they may do. Version 1.
# Only ever extended: see the rule in common.capnp.

using Common = import "common.capnp";

interface Auth extends(Common.Service) {
  scramFirst @0 (context :Common.Context, clientFirst :Text) -> ChallengeResult;
  # Begin a SCRAM-SHA-256 exchange (RFC 5802). It is forgotten after 30 s.

  scramFinal @1 (context :Common.Context, exchange :Text, clientFinal :Text) -> OutcomeResult;
  # Check the proof. Error category authenticationFailed when it is wrong.

  passwordLogin @2 (context :Common.Context, user :Text, password :Text) -> LoginResult;
  # The identity for a plain password. Error category authenticationFailed when it is wrong.

  permissions @3 (context :Common.Context, user :Text) -> PermissionsResult;
  # What a user may do. Error category authenticationFailed for an unknown user.
}

struct ChallengeResult {
  union {
    ok @0 :Challenge;
    error @1 :Common.Error;
  }
}

struct Challenge {
  exchange @0 :Text;     # names the exchange in the second step
  serverFirst @1 :Text;  # the message for the client
}

struct OutcomeResult {
  union {
    ok @0 :Outcome;
    error @1 :Common.Error;
  }
}

struct Outcome {
  serverFinal @0 :Text;  # the message for the client
  user @1 :Text;         # the identity that was proved
}

struct LoginResult {
  union {
    ok @0 :Text;  # the identity
    error @1 :Common.Error;
  }
}

struct PermissionsResult {
  union {
    ok @0 :Data;
    # A JSON object: "version" grows with each change; "global" maps the names of permissions ("read", "write", "config",
    # "connect") to true or false, "databases" and "tables" map uuids to such objects. What is absent is not said at
    # that level.

    error @1 :Common.Error;
  }
}

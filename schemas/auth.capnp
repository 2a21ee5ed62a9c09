@0x9083c4938356e6ef;
# The interface of `auth`: who somebody is, and what they may do. Version 2.
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

  users @4 (context :Common.Context) -> UsersResult;
  # All accounts, by name. Ask only for somebody who may read the system tables.

  setUser @5 (context :Common.Context, name :Text, password :Data) -> Common.Done;
  # Create an account, or change its password. `password` is JSON: a string; {"password": ..., "iterations": ...}; false
  # for no password; true to keep the one that there is. The context's user must be allowed to write to `users`.

  dropUser @6 (context :Common.Context, name :Text) -> Common.Done;
  # Delete an account and what it may do. The context's user must be allowed to write to `users`.

  grant @7 (context :Common.Context, user :Text, scope :List(Text), permissions :Data) -> GrantResult;
  # Change what a user may do. `scope` is empty for everything, else the uuid of a database, and then that of a table in
  # it. `permissions` is a JSON object; null for a permission says nothing about it any more. The context's user must be
  # allowed to read and write the system table `permissions`.
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
  emptyPassword @2 :Bool;  # by the empty password
}

struct LoginResult {
  union {
    ok @0 :Text;  # the identity
    error @1 :Common.Error;
  }
}

struct UsersResult {
  union {
    ok @0 :Common.Payload;
    # JSON list of {"name", "has_password", "permissions"}, the last as in PermissionsResult.

    error @1 :Common.Error;
  }
}

struct GrantResult {
  union {
    ok @0 :Data;
    # JSON object {"old", "new"}: the permissions at the scope before and after; null where nothing is said.

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

@0xe848f8483cfc75cb;
# What the interfaces of all PhotonDB services share. Version 2.
#
# THE RULE, for every file in this folder: interfaces are only ever extended. A new field, union member, enumerant or
# method takes the next free number; nothing is renumbered, retyped, removed or given another meaning. So an old
# program and a new one understand each other in both directions: a reader ignores fields that it does not know and
# finds the default in fields that the writer did not know; who calls a method that the peer does not have yet gets
# Cap'n Proto's UNIMPLEMENTED. What a field may not change is made a new field. Who asks in a new way, which an old program
# would not notice, asks in the old one where `ping` told a version that does not have the new one yet. The same holds for the JSON objects
# that travel in Data fields: members are added, never changed, and unknown members are ignored.
#
# Conventions
#   - Terms (ReQL's wire AST) and rows are JSON in UTF-8, as clients send and receive them, inside Data fields. Integral
#     numbers of up to 2**53 in magnitude are written without a fraction or exponent (1, not 1.0).
#   - What belongs to many things at once travels as columns: lists of equal length, entry i of each describing thing i.
#   - Durations are milliseconds and say so in their names; points in time are microseconds since 1970 UTC.
#   - Every method but `ping` takes a Context, and its result is a union of the value (`ok`) and an Error (`error`).
#     A Cap'n Proto exception means that the call itself failed: no connection, no such method, a message too large.
#   - Capabilities (cursors, channels, feeds) are freed by `close`, and likewise by dropping them or the connection.

struct Context {
  # What accompanies a call.

  traceparent @0 :Text;   # W3C Trace Context; empty when the call is not traced
  deadlineMs @1 :UInt32;  # milliseconds that remain until the caller gives up; 0 when it waits for as long as it takes
  requestId @2 :Text;     # names the request in logs and error messages; empty when it has no name
  user @3 :Text;          # the identity that `auth` vouched for; empty is nobody, who may do nothing
  transaction @4 :Text;   # the transaction that reads and writes of documents belong to; empty without one
  asOfUs @5 :Int64 = -1;  # the point in the past that reads are to see; negative for the present
  atomic @6 :Bool;        # whether the query is to be a transaction of its own
  optimizations @7 :Bool = true;  # whether shortcuts may be taken: the answer is the same without

  traceparents @8 :List(Text);
  # The other traces that the call is part of, when it is made for several traced queries at once: `traceparent` is the
  # first one.

  plain @9 :Bool;
  # Says that everything but `user` has its default, which saves looking.
}

enum ErrorCategory {
  # What an Error says besides its ReQL kind. A program that does not know a category goes by `kind` alone.

  reql @0;                  # an error of the query
  overloaded @1;            # refused at once: the service has as many calls in hand as it takes; retry later
  deadlineExceeded @2;      # the deadline passed before the call was done
  serviceUnavailable @3;    # a service that is needed cannot be reached
  tableGone @4;             # the table id is not in the catalogue any more: look at the catalogue again
  logGap @5;                # the change log no longer holds what was asked for; `detail` is the first sequence it has
  authenticationFailed @6;  # wrong user or password; `detail` is the driver protocol's error code
  transactionConflict @7;   # a transaction was not committed because of another write; begin again
}

struct Error {
  # What went wrong, in the terms of ReQL, so that it can be passed on to a client as it is. Never a stack trace.

  kind @0 :UInt32;               # Response.ErrorType of RethinkDB's ql2.proto; 1000000 is INTERNAL
  message @1 :Text;
  backtrace @2 :Data;            # JSON list of the positions from the query's root to the term; empty when not known
  responseType @3 :UInt16;       # Response.ResponseType: 16 client error, 17 compile error, 18 runtime error
  category @4 :ErrorCategory;
  detail @5 :Int64;              # a number that some categories carry
  requestId @6 :Text;            # finds the cause in the service's log when `kind` is INTERNAL
}

struct Done {
  # The result of a method that returns nothing.

  union {
    ok @0 :Void;
    error @1 :Error;
  }
}

interface Service {
  # What every service answers on a new connection.

  ping @0 () -> (service :Text, version :UInt32);
  # The service's name ("storage", "query", ...) and the version of its interfaces, as photondb/rpc/versions.py counts
  # them.
}

struct Payload {
  # Bytes of any length. A message is limited, and whoever waits behind a long one waits long, so what is long is read
  # piece by piece.

  union {
    whole @0 :Data;
    pieces @1 :PayloadReader;
  }
}

interface PayloadReader {
  read @0 (context :Context) -> PieceResult;
  # The next piece, in order.
}

struct PieceResult {
  union {
    ok @0 :Piece;
    error @1 :Error;
  }
}

struct Piece {
  data @0 :Data;
  last @1 :Bool;  # nothing comes after this piece
}

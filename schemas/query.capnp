@0xaf7d64c7c140876c;
# The interface of `query`: it takes the queries of many client connections in batches. Version 2.
# Only ever extended: see the rule in common.capnp.

using Common = import "common.capnp";

interface Query extends(Common.Service) {
  open @0 (context :Common.Context, sink :AnswerSink, packed :Bool, entrance :Entrance) -> OpenResult;
  # Open a channel. The answers that take time go to `sink`. `packed` says that the gateway reads packed answers.
}

struct Entrance {
  # Where the gateway's clients come in, for who asks `server_status`.

  addresses @0 :List(Text);      # of the gateway's host
  driverPort @1 :UInt16;
  httpPort @2 :UInt16;
}

struct OpenResult {
  union {
    ok @0 :QueryChannel;
    error @1 :Common.Error;
  }
  packed @2 :Bool;               # whether the channel reads packed requests
}

interface QueryChannel {
  # One gateway's stream of queries. Closing it, dropping it, or losing the connection ends all of its sessions: their
  # cursors are freed and their running queries cancelled.

  submit @0 (context :Common.Context, requests :Requests) -> SubmitResult;
  # Take queries, and return the answers that are ready at once. Each of the others goes to the channel's sink.

  close @1 (context :Common.Context) -> Common.Done;
}

struct Requests {
  # Columns: entry i of each list describes query i. A column of what mostly is the same for all (contexts, kinds) may be
  # shorter: one entry then holds for all queries, and none is the default for all.

  sessions @0 :List(UInt64);     # the gateway's number for the client connection
  tokens @1 :List(UInt64);       # the client's number for the query
  payloads @2 :List(Data);       # the frame's JSON, [type, term, options], as it arrived
  kinds @3 :List(UInt8);         # 0: a query; 1: the session has ended, which has no answer

  unused @4 :List(Text);

  # The members of Context, by column; for the traces see below.
  deadlinesMs @5 :List(UInt32);
  requestIds @6 :List(Text);
  users @7 :List(Text);

  clients @8 :List(Text);        # the client's address, host:port; empty once a query of the session has had it

  traced @9 :List(UInt32);
  # The queries that are traced, by their position. The k-th of them goes on with the k-th trace of the call's context.

  packed @10 :Data;
  # All of the above as a MessagePack map from the names of columns to arrays, which are then not set themselves: it
  # takes a fifth of the time to read and write. For who has said that it reads this, where payloads are short.
}

struct SubmitResult {
  union {
    ok @0 :Answers;
    error @1 :Common.Error;
  }
}

struct Answers {
  # Columns. Errors of queries are answers, too: their JSON says so.

  sessions @0 :List(UInt64);
  tokens @1 :List(UInt64);
  payloads @2 :List(Data);  # the response JSON, without the frame around it

  unfinished @3 :Bool;
  # The last payload goes on in the first payload of the next delivery that has the same session and token: an answer
  # that is too long for a message comes in pieces, with other deliveries between them.

  packed @4 :Data;
  # All of the above as a MessagePack map, as in Requests.
}

interface AnswerSink {
  # The gateway's end of a channel.

  deliver @0 (context :Common.Context, answers :Answers) -> Common.Done;
  # Returns when the answers have been taken. A channel has a limited number of deliveries under way, so that a gateway
  # that is slow slows it down.
}

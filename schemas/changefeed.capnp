@0xce75d8dcb4be4004;
# The interface of `changefeed`: live queries over the commits that storage publishes. Version 2.
# Only ever extended: see the rule in common.capnp.

using Common = import "common.capnp";
using Storage = import "storage.capnp";

interface Changefeed extends(Common.Service) {
  open @0 (context :Common.Context, request :FeedRequest) -> OpenResult;
}

struct FeedRequest {
  # A feed on one table: on one document, else on ranges of the primary key or of an index.

  table @0 :UInt32;               # the catalogue id
  tableUuid @1 :Text;
  key @2 :Data;                   # the encoded primary key of the document; empty for a feed on ranges
  index @3 :Int64 = -1;           # the id of an index; negative for the primary key
  ranges @4 :Storage.KeyRanges;
  steps @5 :Data;                 # JSON list of what is done to the old and the new value; empty for nothing
  limit @6 :Int64 = -1;           # a feed on the first so many rows in the order of the key; negative for all
  descending @7 :Bool;            # from the end of that order
  includeInitial @8 :Bool;        # begin with what is there already
  includeStates @9 :Bool;
  includeTypes @10 :Bool;
  includeOffsets @11 :Bool;       # tell where among the first rows one comes and goes
  squash @12 :Bool;               # several changes of one document become one while they wait for the reader
  squashSeconds @13 :Float64;     # and changes are held back for so long; 0 for not at all
  queueSize @14 :UInt32 = 100000; # changes that wait for the reader; when there are more, all of them are dropped
  includePosition @15 :Bool;      # changes tell their position, and none is dropped
  resume @16 :Text;               # the position after which the feed begins; empty for none
  sinceUs @17 :Int64 = -1;        # begin with the first change at that time, in microseconds since 1970; negative for none
  group @18 :Text;                # the consumer group whose changes the feed shares; empty for none
  groupTimeoutSeconds @19 :Float64 = 30; # how long a consumer may take for what it was given
  aggregate @20 :Data;            # JSON of an aggregate whose value the feed tells of; empty for the rows themselves
}

struct OpenResult {
  union {
    ok @0 :Feed;
    error @1 :Common.Error;
  }
}

interface Feed {
  next @0 (context :Common.Context, maxChanges :UInt32) -> ChangesResult;
  # The next changes: waits until there is one at least. One call at a time. What a call was about to return when it
  # was cancelled is lost: who does not want to wait any longer should leave the call alone and take its result later.

  close @1 (context :Common.Context) -> Common.Done;
}

struct ChangesResult {
  union {
    ok @0 :Changes;
    error @1 :Common.Error;
  }
}

struct Changes {
  rows @0 :Common.Payload;  # the objects that the client sees: JSON values joined by commas, without brackets
  count @1 :UInt32;
}

@0xbeb0d3c7316c076d;
# The interface of `storage`: documents, indexes, the commit path and the change log of one node. Version 2.
# Only ever extended: see the rule in common.capnp.
#
# Where there are several nodes, node 0 (home) has the truth about the catalogue and is the only one to change it; the
# others follow. A node says of a table of which it has no part that it does not exist.
#
# Tables are named by their catalogue id, documents by their encoded primary key. A table id that no longer exists gives
# the error category tableGone.

using Common = import "common.capnp";
using Events = import "events.capnp";

interface Storage extends(Common.Service) {
  catalogue @0 (context :Common.Context) -> CatalogueResult;
  # The databases and tables as of now.

  changeCatalogue @1 (context :Common.Context, change :Data) -> CatalogueResult;
  # Carry out a change, durably, and return the catalogue after it. `change` is a JSON object whose member "type" is
  # CreateDatabase, DropDatabase, RenameDatabase, CreateTable, DropTable, AlterTable, SplitTable, FinishCopy,
  # RestartCopy, ForgetLogs, DrainNode, CreateIndex, DropIndex, RenameIndex, IndexBuilt or JoinNode; the others are the
  # arguments.

  get @2 (context :Common.Context, tables :List(UInt32), keys :List(Data), packed :Data) -> GetResult;
  # The documents at (tables[i], keys[i]), of the first ones at least. `packed` has both lists instead, as MessagePack:
  # an array of the keys and one of the tables, which has one entry where it is the same for all.

  write @3 (context :Common.Context, statements :Data, keys :List(Data), documents :Data) -> WriteResult;
  # Carry out write statements in order, as one commit; answered when all are as durable as they ask.
  # `statements` is a JSON list of objects:
  #   "table": the id; "kind": "insert", "update", "replace" or "delete";
  #   "keys": how many of the keys are this statement's, "documents": how many of the documents are; all statements
  #   share the two lists, in order;
  #   "function": the term of a function from the old document to a patch (update) or to the new document (replace), or
  #   "constant": what it gives for every document;
  #   "conflict": what an insert does when the key exists: "error" (the default), "ignore", "replace", "update", or the
  #   term of a function of (id, old, new);
  #   "durability": "hard" or "soft", by default the table's;
  #   "return_changes": true, false (the default) or "always"; "ignore_write_hook": true or false (the default);
  #   "trace": which of the context's traces the statement belongs to, from 0, where those of several queries travel
  #   together and it is traced.
  # `documents` is a JSON list; empty when no statement has documents.

  scan @4 (context :Common.Context, scan :ScanRequest) -> ScanResult;
  # Begin an ordered read. All of it sees one point in time.

  sync @5 (context :Common.Context, table :UInt32) -> Common.Done;
  # Returns when every write acknowledged so far is on disk.

  indexStatus @6 (context :Common.Context, table :UInt32) -> IndexStatusResult;

  readLog @7 (context :Common.Context, table :UInt32, shard :UInt16, after :UInt64, limit :UInt32) -> LogResult;
  # The changes with sequence numbers greater than `after`, in order: at most `limit`, and fewer when they are large.
  # None means that there are none yet. Error category logGap when the log no longer goes back that far.

  logPosition @8 (context :Common.Context, table :UInt32) -> PositionResult;
  # The sequence number of the last change of each shard, 0 where there is none.

  tableStats @9 (context :Common.Context, table :UInt32) -> StatsResult;
  # Estimates.

  beginTransaction @10 (context :Common.Context, id :Text, isolation :Text, readOnly :Bool, timeoutMs :UInt32)
      -> TransactionResult;
  # Begin a transaction of the context's user. `isolation` is "serializable" or "snapshot"; a `timeoutMs` of 0 is the
  # usual time. Calls of `get`, `scan` and `write` whose context names it belong to it.

  commitTransaction @11 (context :Common.Context, id :Text) -> TransactionResult;
  # Make all of its changes at once; answered when they are as durable as they ask. Error category transactionConflict
  # when other writes are in the way.

  abortTransaction @12 (context :Common.Context, id :Text, reason :Text) -> TransactionResult;
  # End it without any effect.

  transactions @13 (context :Common.Context, id :Text) -> TransactionsResult;
  # Those of the context's user (all for `admin`) that are open or have ended lately; only the one with an id, if given.

  checkpoint @14 (context :Common.Context) -> CheckpointResult;
  # Make a copy of all data at this moment, which shares the table files. Whoever asked for it removes it.

  engineStats @15 (context :Common.Context) -> EngineStatsResult;
  # The state of the store below, and its counters since it was opened.

  shortScans @16 (context :Common.Context, scans :Data) -> ShortScansResult;
  # Ordered reads of at most 100 rows each, all of the same context. `scans` is a JSON list of objects: "table", "limit",
  # "lows" and "highs" (the ranges' keys in base64, in ascending order), and what differs from its default of "repeats"
  # (1), "index" (the id, or null for the primary key), "descending" (false), "steps" (none), "keyed" (false), "chunk_bytes"
  # (1000000), which mean what they mean in ScanRequest, and of "trace" (none), which of the context's traces it is part
  # of, from 0. Each read sees a point in time of its own.

  shardRows @17 (context :Common.Context, table :UInt32) -> ShardRowsResult;
  # About how many documents each shard has.

  statistics @18 (context :Common.Context, table :UInt32) -> StatisticsResult;
  # What a planner wants to know of a table and its indexes.

  positions @19 (context :Common.Context, tables :List(UInt32)) -> PositionsResult;
  # The version of the catalogue, and where tables stand: what tells whether something that was read is still true.

  adoptCatalogue @20 (context :Common.Context, catalogue :Data) -> Common.Done;
  # Follow the catalogue of home, which is written as in CatalogueResult. One that is older than the node's is ignored.

  splitPoints @21 (context :Common.Context, table :UInt32, shards :UInt32) -> SplitPointsResult;
  # The keys at which to divide a table into so many shards; 0 is as many as it has.

  fill @22 (context :Common.Context, table :UInt32, keys :List(Data), documents :List(Data), attempt :UInt32)
      -> Common.Done;
  # Let documents of a table that is being filled be these; an empty one is not to be there. Another attempt than that
  # of the table is refused.

  pauseWrites @23 (context :Common.Context, table :UInt32, pause :UInt64, timeoutMs :UInt32, afterUs :Int64)
      -> PauseResult;
  # Let writes to the node's part of a table wait until `endPause` with the same number `pause`, and later commits be
  # younger than `afterUs`.

  endPause @24 (context :Common.Context, table :UInt32, pause :UInt64) -> Common.Done;

  pauseReads @25 (context :Common.Context, table :UInt32, pause :UInt64) -> Common.Done;
  # Let reads of a part to which writes are paused wait, too.

  divisions @26 (context :Common.Context) -> DivisionsResult;
  # The tables that are being divided anew.
}

struct PauseResult {
  union {
    ok @0 :Data;
    # A JSON object: "sequence" is the number of the part's last change, "rows" and "bytes" are its size, "time_us" is
    # the time of the node's last commit.

    error @1 :Common.Error;
  }
}

struct DivisionsResult {
  union {
    ok @0 :Data;
    # A JSON array of {"table", "sources", "targets", "copied", "documents", "started_us"}: the table's uuid, the numbers
    # of the nodes that have its parts and of those that will, how many documents are copied of how many, and since when.

    error @1 :Common.Error;
  }
}

struct Transaction {
  id @0 :Text;
  user @1 :Text;
  isolation @2 :Text;
  readOnly @3 :Bool;
  timeoutMs @4 :UInt32;
  startedUs @5 :Int64;
  state @6 :Text;    # "open", "committed" or "aborted"
  reason @7 :Text;   # why it was aborted; empty otherwise
  reads @8 :UInt64;  # documents and ranges that were read
  writes @9 :UInt64; # documents that were changed
}

struct TransactionResult {
  union {
    ok @0 :Transaction;
    error @1 :Common.Error;
  }
}

struct TransactionsResult {
  union {
    ok @0 :List(Transaction);
    error @1 :Common.Error;
  }
}

struct CatalogueResult {
  union {
    ok @0 :Common.Payload;
    # A JSON object: "version" grows with each change; "databases" is a list of {"uuid", "name"}; "tables" a list of
    # {"id", "uuid", "name", "database", "primary_key", "durability", "indexes", "write_hook", "split_points", "nodes",
    # "copy_of", "ended", "starts", "attempt"},
    # and each of "indexes" is {"id", "name", "function", "multi", "geo", "ready", "built"}. Functions are terms.
    # "node_id" is the id of the storage node that is home, "nodes" has those of all nodes. "copies" are tables that are
    # being filled, "drained" the numbers of nodes that get no more tables.

    error @1 :Common.Error;
  }
}

struct GetResult {
  union {
    ok @0 :List(Data);
    # The documents for the first keys; empty where there is no document. There may be fewer than keys (but one at
    # least) when they are large: ask again for the rest.

    error @1 :Common.Error;
  }
  packed @2 :Data;
  # In place of `ok`, where the keys were packed and the documents are short: the same as an array in MessagePack, with nil
  # for a document that is not there.
}

struct WriteResult {
  union {
    ok @0 :Common.Payload;
    # A JSON list with an object for each statement: {"deleted", "errors", "inserted", "replaced", "skipped",
    # "unchanged", "first_error", "changes", "warnings", "generated_keys"}, or {"error": {...}} with the members of
    # common.capnp's Error for a statement that failed as a whole.

    error @1 :Common.Error;
  }
}

struct KeyRanges {
  # Columns: ranges of encoded keys, low inclusive, high exclusive.

  lows @0 :List(Data);
  highs @1 :List(Data);
  repeats @2 :List(UInt32);  # how often each row of the range is returned; empty when once everywhere
}

struct ScanRequest {
  table @0 :UInt32;
  index @1 :Int64 = -1;            # the id of an index; negative for the primary key
  ranges @2 :KeyRanges;            # in ascending order
  descending @3 :Bool;
  steps @4 :Data;                  # JSON list of what is done to each row, in order; empty for nothing
  aggregate @5 :Data;              # JSON of what the rows are reduced to; empty when the rows themselves are wanted
  limit @6 :Int64 = -1;            # stop after so many results; negative for all
  chunkRows @7 :UInt32 = 1000;     # limits of a chunk: rows, and bytes of JSON
  chunkBytes @8 :UInt32 = 1000000;
  firstChunkRows @9 :UInt32;       # the limit of the first chunk; 0 when it is chunkRows
  primaryOrder @10 :Bool;          # the index only finds rows, which come once each, as they do from the table
  measured @11 :Bool;              # tell what came of it
  keyed @12 :Bool;                 # tell the place of each row in the scan's order
  others @13 :List(IndexPart);     # with primaryOrder: further indexes that find rows
  every @14 :Bool;                 # rows that every one of the indexes leads to; otherwise, those that any of them does
  byValue @15 :Bool;               # equal values in the order of the primary key, and the ranges as they are given
  mostRead @16 :Int64 = -1;        # fail rather than read more documents; negative for as many as it takes
}

struct IndexPart {
  index @0 :UInt32;
  ranges @1 :KeyRanges;
}

struct Chunk {
  rows @0 :Data;    # JSON values joined by commas, without brackets
  count @1 :UInt32;
  last @2 :Bool;    # nothing comes after this chunk
  measures @3 :Data; # of a measured scan: JSON of what came of it so far (`ScanMeasures` of photondb/reql/measures.py)
  keys @4 :List(Data); # of a keyed scan: the place of each row, as a byte string that sorts as the rows do
}

struct ScanResult {
  union {
    ok :group {
      union {
        chunk @0 :Chunk;             # the first rows
        partial @1 :Common.Payload;  # JSON of the partial aggregate, which is all there is
      }
      cursor @2 :ScanCursor;         # reads on; null when the chunk is the last one
      measures @4 :Data;             # with a partial aggregate; as in a chunk
    }
    error @3 :Common.Error;
  }
}

struct ShortScansResult {
  union {
    ok @0 :ShortScans;
    error @1 :Common.Error;
  }
}

struct ShortScans {
  # Columns, with an entry for each scan.

  rows @0 :List(Data);     # JSON values joined by commas, without brackets
  counts @1 :List(Int32);  # how many. -1: the rows are too long, ask for them with `scan`; -2: `rows` has the error as JSON
  keys @2 :List(List(Data));  # of keyed scans, as in a chunk; empty where there is none
}

interface ScanCursor {
  # The rest of a scan. It keeps a view of the store open until the last chunk, `close`, or its drop.

  next @0 (context :Common.Context) -> ChunkResult;
  close @1 (context :Common.Context) -> Common.Done;
}

struct ChunkResult {
  union {
    ok @0 :Chunk;
    error @1 :Common.Error;
  }
}

struct IndexStatusResult {
  union {
    ok @0 :List(IndexStatus);
    error @1 :Common.Error;
  }
}

struct IndexStatus {
  name @0 :Text;
  ready @1 :Bool;
  progress @2 :Float64;  # of the build, from 0 to 1; 1 when ready
  problem @3 :Text;  # why the build does not get on; empty when it does
}

struct LogResult {
  union {
    ok @0 :LogPart;
    error @1 :Common.Error;
  }
}

struct LogPart {
  # Columns, as in Records.

  sequences @0 :List(UInt64);
  timesUs @1 :List(Int64);
  records @2 :Events.Records;
}

struct EngineStatsResult {
  union {
    ok @0 :Data;  # a JSON object, whose members `EngineStats` of photondb/api/storage.py names
    error @1 :Common.Error;
  }
}

struct PositionsResult {
  union {
    ok @0 :Data;  # JSON: {"catalogue": version, "tables": [[sequence of the last change of each shard], ...]}
    error @1 :Common.Error;
  }
}

struct StatisticsResult {
  union {
    ok @0 :Data;  # a JSON object, whose members `TableStatistics` of photondb/api/storage.py names
    error @1 :Common.Error;
  }
}

struct CheckpointResult {
  union {
    ok @0 :Text;  # its directory on storage's machine
    error @1 :Common.Error;
  }
}

struct PositionResult {
  union {
    ok @0 :List(UInt64);
    error @1 :Common.Error;
  }
}

struct SplitPointsResult {
  union {
    ok @0 :List(Data);
    error @1 :Common.Error;
  }
}

struct ShardRowsResult {
  union {
    ok @0 :List(UInt64);
    error @1 :Common.Error;
  }
}

struct StatsResult {
  union {
    ok @0 :TableStats;
    error @1 :Common.Error;
  }
}

struct TableStats {
  rows @0 :UInt64;
  bytes @1 :UInt64;
}

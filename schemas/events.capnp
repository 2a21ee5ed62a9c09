@0xf204a385f2e249b5;
# What services publish on the bus. Version 2. Only ever extended: see the rule in common.capnp.

struct ChangeBatch {
  # Changes of one shard of one table, those of one commit or of several that were made at about the same time, published
  # on `photondb.changes.<table>.<shard>`.
  #
  # Record i has the sequence number firstSequence + i. A subscriber that sees a batch whose firstSequence is not the one
  # after the last that it had has missed something (the bus may lose messages) and reads it with `Storage.readLog`. A
  # batch that it had already (the bus may repeat messages) is ignored. A batch without records only says which number
  # comes next: it is published when messages may have been lost.

  table @0 :Text;           # the table's uuid
  shard @1 :UInt16;
  firstSequence @2 :UInt64;
  records @3 :Data;
  # MessagePack: an array with an array for each record, of its sequence number, when it was committed (microseconds since
  # 1970 UTC), the encoded primary key, the document before, and the document after. The latter three are bin, the
  # documents as JSON, or nil where there is none.
}

struct Records {
  # Columns: entry i of each list belongs to change i.

  keys @0 :List(Data);      # the encoded primary key
  olds @1 :List(Data);      # the document before, as JSON; empty where `oldAbsent`
  news @2 :List(Data);      # the document after, as JSON; empty where `newAbsent`
  oldAbsent @3 :List(Bool); # there was no document before: an insert
  newAbsent @4 :List(Bool); # there is no document after: a deletion
}

"""Keeps documents, secondary indexes, the commit path and the change log on one node, in RocksDB."""

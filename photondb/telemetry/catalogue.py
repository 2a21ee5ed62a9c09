"""The catalogue of metrics: each is declared here, once, with its name, kind, labels and meaning.

docs/observability.md is written from it, and the Prometheus page and the OTLP export say what it says. Names and units
follow Prometheus' conventions: base units (seconds, bytes), and `_total` at the end of counters.

Labels are bounded: `service` is one of the five services (`photondb` for what belongs to a process that runs all of
them), and every other label is a word of a short list, except `database` and `table`, of which there are at most
MAX_TABLES and the word `other` for all further ones.
"""

from __future__ import annotations

from photondb.telemetry.declaring import LAG_BUCKETS_S, SIZE_BUCKETS, Area, Metric

MAX_TABLES = 100
"""How many tables have metrics of their own."""

OTHER = "other"
"""The database and table of all further ones."""

CATALOGUE: list[Metric] = []
"""All metrics, in the order of the documentation."""

area = Area("Requests", CATALOGUE)
REQUEST_DURATION = area.histogram(
    "photondb_request_duration_seconds",
    "How long requests took, and with `_count` how many there were. Of the gateway these are queries, from their "
    "arrival to their answer; of the query service they are queries by what they do (`point_read`, `read`, "
    "`point_write`, `write`, `feed`, `meta`, `compute`) and the rest of the protocol (`continue`, `stop`, "
    "`noreply_wait`, `server_info`, `invalid`); of the other services they are the calls of their interfaces.",
    "service",
    "operation",
)
REQUEST_ERRORS = area.counter(
    "photondb_request_errors_total",
    "Requests that failed, by the kind of the error.",
    "service",
    "operation",
    "kind",
)
REQUESTS_IN_FLIGHT = area.gauge(
    "photondb_requests_in_flight", "Requests that have come and were not answered yet.", "service"
)

area = Area("Gateway", CATALOGUE)
GATEWAY_CONNECTIONS = area.gauge("photondb_gateway_connections", "Driver connections that are open.")
GATEWAY_ACCEPTED = area.counter("photondb_gateway_connections_accepted_total", "Driver connections that were accepted.")
GATEWAY_REFUSED = area.counter(
    "photondb_gateway_connections_refused_total", "Driver connections that were turned away because of the limit."
)
GATEWAY_DROPPED = area.counter(
    "photondb_gateway_clients_dropped_total", "Clients that were disconnected because they did not take their answers."
)
GATEWAY_RECEIVED_BYTES = area.counter(
    "photondb_gateway_received_bytes_total", "Bytes of queries that clients have sent.", unit="By"
)
GATEWAY_SENT_BYTES = area.counter(
    "photondb_gateway_sent_bytes_total", "Bytes of answers that clients were sent.", unit="By"
)
GATEWAY_QUEUED = area.gauge(
    "photondb_gateway_queued_queries", "Queries that wait to be submitted to the query service with the next batch."
)
GATEWAY_BATCH = area.histogram(
    "photondb_gateway_batch_queries",
    "How many queries were submitted together.",
    buckets=SIZE_BUCKETS,
    unit="1",
)
GATEWAY_BUSY_POLLS = area.counter(
    "photondb_gateway_busy_polls_total",
    "How often the gateway stayed awake for the next query, and it came or did not.",
    "found",
)
GATEWAY_CHANNEL_LOSSES = area.counter(
    "photondb_gateway_query_service_losses_total", "How often the query service was lost while it was in use."
)

area = Area("Query", CATALOGUE)
QUERY_SESSIONS = area.gauge("photondb_query_sessions", "Client connections that the query service keeps something for.")
QUERY_RUNNING = area.gauge("photondb_query_running", "Queries that are being worked on, or wait for something.")
QUERY_CURSORS = area.gauge("photondb_query_cursors", "Cursors that are open, without those of changefeeds.")
QUERY_FEEDS = area.gauge("photondb_query_feed_cursors", "Cursors of changefeeds that are open.")
QUERY_UNSENT = area.gauge("photondb_query_unsent_answers", "Answers that wait to be sent to the gateways.")
QUERY_READ_BATCH = area.histogram(
    "photondb_query_batch_reads",
    "How many reads of one document went to storage together.",
    buckets=SIZE_BUCKETS,
    unit="1",
)
QUERY_WRITE_BATCH = area.histogram(
    "photondb_query_batch_writes",
    "How many writes of one document went to storage together.",
    buckets=SIZE_BUCKETS,
    unit="1",
)
PLAN_CACHE_HITS = area.counter("photondb_plan_cache_hits_total", "Queries whose plan was there already.")
PLAN_CACHE_MISSES = area.counter("photondb_plan_cache_misses_total", "Queries that had to be compiled.")
PLAN_CACHE_PLANS = area.gauge("photondb_plan_cache_plans", "Compiled queries that are kept.")
PLAN_CACHE_TERMS = area.gauge("photondb_plan_cache_terms", "How many terms the plans that are kept have together.")
RESULT_CACHE_HITS = area.counter(
    "photondb_result_cache_hits_total", "Queries with the run option `cache` whose answer was kept and is still true."
)
RESULT_CACHE_MISSES = area.counter(
    "photondb_result_cache_misses_total", "Queries with the run option `cache` that had to be run."
)
RESULT_CACHE_BYTES = area.gauge("photondb_result_cache_bytes", "Size of the answers that are kept.", unit="By")
QUERY_TIMEOUTS = area.counter("photondb_query_timeouts_total", "Queries that were ended because their time was up.")
QUERY_MEMORY = area.gauge(
    "photondb_query_memory_bytes", "Memory that the queries under way take together, about.", unit="By"
)
QUERY_MEMORY_LIMIT = area.gauge("photondb_query_memory_limit_bytes", "Memory that they may take together.", unit="By")
QUERY_MEMORY_REFUSED = area.counter(
    "photondb_query_memory_refused_total", "Queries that were ended because all together took more than they may."
)
QUERY_SPILL_FILES = area.counter(
    "photondb_query_spill_files_total", "Temporary files that sorts and groups too large for memory have written."
)
QUERY_SPILL_WRITTEN = area.counter(
    "photondb_query_spill_written_bytes_total", "Bytes that were written to these files.", unit="By"
)
QUERY_SPILL_BYTES = area.gauge("photondb_query_spill_bytes", "Size of these files now.", unit="By")

area = Area("Tables", CATALOGUE)
TABLE_READS = area.counter(
    "photondb_table_documents_read_total", "Documents that were read by their primary key.", "database", "table"
)
TABLE_SCANS = area.counter("photondb_table_scans_total", "Scans of a table or an index.", "database", "table")
TABLE_WRITES = area.counter(
    "photondb_table_documents_written_total",
    "Documents that were inserted, replaced or deleted.",
    "database",
    "table",
)
TABLE_DOCUMENTS = area.gauge("photondb_table_documents", "Documents of a table.", "database", "table")
TABLE_BYTES = area.gauge("photondb_table_bytes", "Size of a table's documents as JSON.", "database", "table", unit="By")

area = Area("Storage", CATALOGUE)
STORAGE_CATALOGUE = area.gauge(
    "photondb_storage_catalogue_version", "Version of the catalogue that a storage node has, the same on all nodes."
)
STORAGE_TABLES = area.gauge("photondb_storage_tables", "Tables.")
STORAGE_INDEXES = area.gauge("photondb_storage_indexes", "Secondary indexes.")
STORAGE_INDEXES_OUTDATED = area.gauge(
    "photondb_storage_indexes_outdated", "Secondary indexes of an earlier version, which are to be made anew."
)
STORAGE_INDEX_BUILDS = area.gauge("photondb_storage_index_builds", "Secondary indexes that are being built.")
STORAGE_DIVISIONS_RUNNING = area.gauge(
    "photondb_storage_divisions_running", "Tables that are being divided anew among storage nodes (node 0 only)."
)
STORAGE_DIVISIONS = area.counter(
    "photondb_storage_divisions_total",
    "Attempts to divide tables anew: those that finished, were resumed after a failure, had to be begun anew, or were "
    "given up because the table was dropped or is to be divided otherwise.",
    "result",
)
STORAGE_DIVISION_DOCUMENTS = area.counter(
    "photondb_storage_division_documents_total", "Documents written to new parts of tables that are divided anew."
)
STORAGE_DIVISION_BYTES = area.counter("photondb_storage_division_bytes_total", "Their bytes.", unit="By")
STORAGE_AGGREGATES = area.gauge(
    "photondb_storage_aggregates_bytes", "Memory that groups being worked out by storage take, about.", unit="By"
)
STORAGE_AGGREGATES_LIMIT = area.gauge(
    "photondb_storage_aggregates_limit_bytes", "Memory that they may take together.", unit="By"
)
STORAGE_AGGREGATE_PARTS = area.counter(
    "photondb_storage_aggregate_parts_total", "Partial results that were handed on early, to make room in memory."
)
STORAGE_SCANS = area.gauge("photondb_storage_scans_open", "Scans that are open, each on a snapshot of its own.")
STORAGE_SCANS_GIVEN_UP = area.counter(
    "photondb_storage_scans_given_up_total", "Scans whose snapshot was given up because they were open for too long."
)
STORAGE_TRANSACTIONS = area.gauge("photondb_storage_transactions_open", "Transactions that are open.")
STORAGE_TRANSACTIONS_ENDED = area.counter(
    "photondb_storage_transactions_total",
    "Transactions that have ended, by outcome: `committed`, `conflict` or `aborted`.",
    "outcome",
)
COMMITS = area.counter(
    "photondb_commits_total", "Write batches that were applied to the store and its write-ahead log."
)
COMMIT_DOCUMENTS = area.histogram(
    "photondb_commit_documents", "How many documents a commit has changed.", buckets=SIZE_BUCKETS, unit="1"
)
COMMIT_BYTES = area.counter(
    "photondb_commit_bytes_total", "Bytes of change-log records, which is about what the commits came to.", unit="By"
)
COMMITS_UNSYNCED = area.gauge("photondb_commits_waiting_for_sync", "Commits that wait for the disk.")
SYNC_DURATION = area.histogram(
    "photondb_wal_sync_duration_seconds", "How long the disk took to sync the write-ahead log, once for many commits."
)
SYNC_COMMITS = area.histogram(
    "photondb_wal_sync_commits", "How many commits became durable with one sync.", buckets=SIZE_BUCKETS, unit="1"
)
DOCUMENT_CACHE_HITS = area.counter(
    "photondb_document_cache_hits_total", "Documents that were read and found in the cache of documents."
)
DOCUMENT_CACHE_MISSES = area.counter(
    "photondb_document_cache_misses_total", "Documents that were read and had to be asked of RocksDB."
)
DOCUMENT_CACHE_BYTES = area.gauge(
    "photondb_document_cache_bytes", "About the size of the cache of documents.", unit="By"
)
COLUMN_CACHE_HITS = area.counter(
    "photondb_column_cache_hits_total", "Aggregates that were worked out from columns instead of documents."
)
COLUMN_CACHE_MISSES = area.counter(
    "photondb_column_cache_misses_total",
    "Aggregates that could have been worked out from columns, had they been in memory.",
)
COLUMN_CACHE_BYTES = area.gauge(
    "photondb_column_cache_bytes", "About the size of all columns, also of those that are being made.", unit="By"
)
COLUMN_CACHE_SIZE = area.gauge("photondb_column_cache_size_bytes", "Size that all columns may have.", unit="By")
COLUMN_CACHE_TABLES = area.gauge("photondb_column_cache_tables", "Tables that have columns in memory.")
COLUMN_CACHE_BUILDING = area.gauge("photondb_column_cache_builds_running", "Tables whose columns are being made.")
COLUMN_CACHE_BUILDS = area.counter(
    "photondb_column_cache_builds_total",
    "Times that columns of a table were made, or given up before they were (`made`, `given_up`).",
    "outcome",
)
COLUMN_CACHE_EVICTIONS = area.counter(
    "photondb_column_cache_evictions_total",
    "Tables whose columns were let go, for `room` or because more documents had changed than is worth following "
    "(`outrun`).",
    "reason",
)
SCAN_WORKERS_RUNNING = area.gauge("photondb_scan_workers_running", "Scan workers that can be asked or are at work.")
SCAN_WORKERS_BUSY = area.gauge("photondb_scan_workers_busy", "Scan workers that are at work.")
SCAN_WORKER_REQUESTS = area.counter(
    "photondb_scan_worker_requests_total", "Parts of aggregates that scan workers were asked for."
)
SCAN_WORKER_FAILURES = area.counter(
    "photondb_scan_worker_failures_total", "Parts of aggregates that scan workers could not give."
)
SCAN_WORKER_ROWS = area.counter(
    "photondb_scan_worker_rows_total", "Documents that scan workers have gone through, where they succeeded."
)
SCAN_WORKER_DEATHS = area.counter("photondb_scan_worker_deaths_total", "Scan workers that have died.")
SYNC_FAILURES = area.counter("photondb_wal_sync_failures_total", "Syncs of the write-ahead log that failed.")
DISK_FREE = area.gauge(
    "photondb_disk_free_bytes", "Space that is left on the file system of the data directory.", unit="By"
)
DISK_SIZE = area.gauge("photondb_disk_size_bytes", "Size of the file system of the data directory.", unit="By")

area = Area("RocksDB", CATALOGUE)
ROCKSDB_CACHE_SIZE = area.gauge("photondb_rocksdb_cache_size_bytes", "Size that the block cache may have.", unit="By")
ROCKSDB_CACHE_USED = area.gauge("photondb_rocksdb_cache_used_bytes", "Size that the block cache has.", unit="By")
ROCKSDB_CACHE_HITS = area.counter("photondb_rocksdb_cache_hits_total", "Blocks that were found in the cache.")
ROCKSDB_CACHE_MISSES = area.counter("photondb_rocksdb_cache_misses_total", "Blocks that had to be read from a file.")
ROCKSDB_BLOOM_USEFUL = area.counter(
    "photondb_rocksdb_bloom_filter_useful_total", "Reads of a table file that its bloom filter has saved."
)
ROCKSDB_MEMTABLE_BYTES = area.gauge("photondb_rocksdb_memtable_bytes", "Size of the memory tables.", unit="By")
ROCKSDB_FILES_BYTES = area.gauge("photondb_rocksdb_table_files_bytes", "Size of the table files.", unit="By")
ROCKSDB_LIVE_BYTES = area.gauge(
    "photondb_rocksdb_live_data_bytes", "Estimated size of what is not overwritten or deleted.", unit="By"
)
ROCKSDB_KEYS = area.gauge("photondb_rocksdb_keys", "Estimated number of keys.")
ROCKSDB_LEVEL_FILES = area.gauge("photondb_rocksdb_level_files", "Table files of each level.", "level")
ROCKSDB_READ_BYTES = area.counter("photondb_rocksdb_read_bytes_total", "Bytes of values that were read.", unit="By")
ROCKSDB_WRITTEN_BYTES = area.counter(
    "photondb_rocksdb_written_bytes_total", "Bytes of keys and values that were written.", unit="By"
)
ROCKSDB_WAL_BYTES = area.counter(
    "photondb_rocksdb_wal_written_bytes_total", "Bytes that were written to the write-ahead log.", unit="By"
)
ROCKSDB_WAL_SYNCS = area.counter("photondb_rocksdb_wal_syncs_total", "Syncs of the write-ahead log.")
ROCKSDB_FLUSHES = area.gauge("photondb_rocksdb_flushes_running", "Memory tables that are being written to files.")
ROCKSDB_FLUSH_BYTES = area.counter(
    "photondb_rocksdb_flush_written_bytes_total", "Bytes that were written when memory tables became files.", unit="By"
)
ROCKSDB_COMPACTIONS = area.gauge("photondb_rocksdb_compactions_running", "Compactions that are running.")
ROCKSDB_COMPACTION_PENDING = area.gauge(
    "photondb_rocksdb_compaction_pending_bytes", "Estimated bytes that compactions have still to rewrite.", unit="By"
)
ROCKSDB_COMPACTION_READ = area.counter(
    "photondb_rocksdb_compaction_read_bytes_total", "Bytes that compactions have read.", unit="By"
)
ROCKSDB_COMPACTION_WRITTEN = area.counter(
    "photondb_rocksdb_compaction_written_bytes_total", "Bytes that compactions have written.", unit="By"
)
ROCKSDB_STALLS = area.counter(
    "photondb_rocksdb_stall_seconds_total", "How long RocksDB has held up writes to let compactions catch up.", unit="s"
)
ROCKSDB_WRITES_STOPPED = area.gauge("photondb_rocksdb_writes_stopped", "1 while RocksDB takes no writes, else 0.")
ROCKSDB_DELAYED_RATE = area.gauge(
    "photondb_rocksdb_delayed_write_rate_bytes",
    "Bytes a second to which RocksDB holds writes down; 0 while it does not.",
    unit="By/s",
)
ROCKSDB_ERRORS = area.gauge("photondb_rocksdb_background_errors", "Errors that flushes and compactions have met with.")

area = Area("Auth", CATALOGUE)
AUTH_LOGINS = area.counter(
    "photondb_auth_logins_total",
    "Logins, by how they were made (`scram`, or `password` of old handshakes and of HTTP) and their outcome: "
    "`success`, `unknown_user`, `wrong_password`, `malformed` or `expired`.",
    "method",
    "outcome",
)
AUTH_ACCOUNTS = area.gauge("photondb_auth_accounts", "User accounts.")
AUTH_EXCHANGES = area.gauge("photondb_auth_exchanges_open", "Logins that have begun and not ended.")
AUTH_HASHING = area.gauge("photondb_auth_hashing_queue", "Passwords that wait to be hashed.")

area = Area("Changefeeds", CATALOGUE)
FEEDS_OPEN = area.gauge(
    "photondb_feeds_open",
    "Changefeeds that are open, by kind: `point`, `range`, `limit`, `aggregate` or `group` (a consumer of one).",
    "kind",
)
FEED_TABLES = area.gauge("photondb_feed_tables", "Tables whose commits are followed.")
FEED_BACKLOG = area.gauge(
    "photondb_feed_backlog_records", "Commits' records that have come and feeds were not told of yet."
)
FEED_MISSING = area.gauge(
    "photondb_feed_missing_records", "Records that are known to exist and have not come yet, of all followed tables."
)
FEED_QUEUED = area.gauge("photondb_feed_queued_changes", "Changes that wait for the readers of feeds.")
FEED_LAG = area.histogram(
    "photondb_feed_lag_seconds",
    "Time from a commit to when feeds were told of it (of the newest commit of each turn), by the clocks of both.",
    buckets=LAG_BUCKETS_S,
)
FEED_RECORDS = area.counter("photondb_feed_records_total", "Records of commits that feeds were told of.")
FEED_CHANGES = area.counter("photondb_feed_changes_delivered_total", "Changes that the readers of feeds were given.")
FEED_SKIPPED = area.counter(
    "photondb_feed_changes_skipped_total", "Changes that were dropped because a reader was too slow."
)
FEED_LOG_READS = area.counter(
    "photondb_feed_gap_reads_total", "Reads of the change log that were needed because the bus had lost something."
)
FEED_GROUPS = area.gauge("photondb_feed_groups", "Consumer groups that have consumers.")
SINKS = area.gauge("photondb_sinks", "Sinks that deliver.")
SINK_DELIVERIES = area.counter(
    "photondb_sink_deliveries_total",
    "Batches that sinks have sent, by kind (`webhook` or `jetstream`) and outcome (`success` or `failure`).",
    "kind",
    "outcome",
)
SINK_CHANGES = area.counter("photondb_sink_changes_delivered_total", "Changes that have arrived at sinks.", "kind")
SINK_DURATION = area.histogram(
    "photondb_sink_delivery_duration_seconds", "How long deliveries to sinks took.", "kind", buckets=LAG_BUCKETS_S
)

area = Area("Bus", CATALOGUE)
BUS_CONNECTED = area.gauge(
    "photondb_bus_connected", "1 while the bus works, 0 while NATS cannot be reached.", "service"
)
BUS_PUBLISHED = area.counter("photondb_bus_published_total", "Messages that were published.", "service")
BUS_PUBLISHED_BYTES = area.counter("photondb_bus_published_bytes_total", "Bytes of them.", "service", unit="By")
BUS_RECEIVED = area.counter("photondb_bus_received_total", "Messages that subscribers have got.", "service")
BUS_RECEIVED_BYTES = area.counter("photondb_bus_received_bytes_total", "Bytes of them.", "service", unit="By")
BUS_DROPPED = area.counter(
    "photondb_bus_dropped_total",
    "Messages that were lost, by reason: `unsent` (no connection, or too large) or `slow_consumer`.",
    "service",
    "reason",
)
BUS_GAPS = area.counter(
    "photondb_bus_gaps_total", "How often messages may have been lost, so that readers looked for them.", "service"
)
BUS_CONNECTS = area.counter("photondb_bus_connects_total", "Connections to NATS that were made.", "service")
BUS_OUTBOX = area.gauge("photondb_bus_outbox_messages", "Messages that wait to be sent.", "service")
BUS_SUBSCRIPTIONS = area.gauge("photondb_bus_subscriptions", "Subscriptions.", "service")

area = Area("RPC between services", CATALOGUE)
RPC_CONNECTED = area.gauge(
    "photondb_rpc_client_connections", "Connections to another service that stand.", "service", "peer"
)
RPC_CONNECTS = area.counter("photondb_rpc_client_connects_total", "Connections that were made.", "service", "peer")
RPC_RECONNECTS = area.counter(
    "photondb_rpc_client_reconnects_total", "Connections that were made anew after one was lost.", "service", "peer"
)
RPC_CONNECT_FAILURES = area.counter(
    "photondb_rpc_client_connect_failures_total", "Attempts to connect that failed.", "service", "peer"
)
RPC_CALLS = area.gauge(
    "photondb_rpc_client_calls_in_flight", "Calls that were made and not answered yet.", "service", "peer"
)
RPC_WAITING = area.gauge("photondb_rpc_client_calls_waiting", "Calls that wait for a connection.", "service", "peer")
RPC_SERVER_CONNECTIONS = area.gauge(
    "photondb_rpc_server_connections", "Connections from other services and commands.", "service"
)
RPC_SERVER_CALLS = area.gauge("photondb_rpc_server_calls_in_flight", "Calls that are being carried out.", "service")
RPC_REFUSED = area.counter(
    "photondb_rpc_server_calls_refused_total", "Calls that were refused because too many were in hand.", "service"
)

area = Area("Processes", CATALOGUE)
BUILD_INFO = area.gauge(
    "photondb_build_info", "1; the labels tell which release runs on what.", "service", "version", "python"
)
PROCESS_START = area.gauge(
    "photondb_process_start_time_seconds", "When the process was started, in seconds since 1970.", "service", unit="s"
)
PROCESS_CPU = area.counter("photondb_process_cpu_seconds_total", "CPU time of the process.", "service", unit="s")
PROCESS_RSS = area.gauge(
    "photondb_process_resident_memory_bytes", "Memory of the process that is in RAM.", "service", unit="By"
)
PROCESS_MEMORY_LIMIT = area.gauge(
    "photondb_process_memory_limit_bytes",
    "Memory that there is: of the machine, or of the container.",
    "service",
    unit="By",
)
PROCESS_FDS = area.gauge("photondb_process_open_fds", "File descriptors that are open.", "service")
PROCESS_MAX_FDS = area.gauge("photondb_process_max_fds", "How many may be open.", "service")
PROCESS_THREADS = area.gauge("photondb_process_threads", "Threads of the process.", "service")
GC_COLLECTIONS = area.counter(
    "photondb_gc_collections_total", "Collections of cyclic garbage, by generation (0 to 2).", "service", "generation"
)
GC_COLLECTED = area.counter(
    "photondb_gc_objects_collected_total", "Objects that were freed by them.", "service", "generation"
)
GC_PAUSE = area.histogram(
    "photondb_gc_pause_seconds", "How long collections of cyclic garbage took.", "service", buckets=LAG_BUCKETS_S
)
LOOP_LAG = area.histogram(
    "photondb_event_loop_lag_seconds", "How late the event loop did what was due.", "service", buckets=LAG_BUCKETS_S
)
LOOP_TASKS = area.gauge("photondb_event_loop_tasks", "Tasks of the event loop that are not done.", "service")
LOG_RECORDS = area.counter(
    "photondb_log_records_total", "Log records, by level: `warning` or `error`.", "service", "level"
)

area = Area("Traces", CATALOGUE)
SPANS_EXPORTED = area.counter("photondb_spans_exported_total", "Spans that the collector has taken.", "service")
SPANS_DROPPED = area.counter(
    "photondb_spans_dropped_total",
    "Spans that were lost: there was no room for more (`queue`), or the collector did not take them (`collector`).",
    "service",
    "reason",
)

BY_NAME = {metric.name: metric for metric in CATALOGUE}

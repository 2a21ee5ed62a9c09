"""The settings as the user meets them: flags, environment variables, what they must be and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from photondb.config import values
from photondb.config.addresses import DEFAULT_ADDRESSES


@dataclass(frozen=True)
class Option:
    """One setting as the user meets it. `flag` is None where only the environment variable exists."""

    field: str
    variable: str
    parse: Callable[[str], Any]
    expected: str
    help: str
    flag: str | None = None
    metavar: str | None = None


MAX_FRONTS = 64
MAX_STORAGE_NODES = 64

_parse_port = values.whole_number(0, 65535)
_PORT = "a port number from 0 (any free port) to 65535"
_ADDRESS = "unix:/path (of at most 107 bytes) or tcp:host:port"

OPTIONS: tuple[Option, ...] = (
    Option(
        "data_dir",
        "PHOTONDB_DATA_DIR",
        values.path,
        "the path of a directory",
        "directory that holds the data; it is made if it does not exist",
        "--data-dir",
        "DIR",
    ),
    Option(
        "bind",
        "PHOTONDB_BIND",
        values.word,
        "a host name or IP address",
        "address to listen on for clients; 0.0.0.0 for all",
        "--bind",
        "ADDRESS",
    ),
    Option("driver_port", "PHOTONDB_DRIVER_PORT", _parse_port, _PORT, "port for drivers", "--driver-port", "PORT"),
    Option("http_port", "PHOTONDB_HTTP_PORT", _parse_port, _PORT, "port for HTTP", "--http-port", "PORT"),
    Option(
        "driver_tls_cert",
        "PHOTONDB_DRIVER_TLS_CERT",
        values.path,
        "the path of a PEM file",
        "certificate chain for drivers, which must connect with TLS then",
        "--driver-tls-cert",
        "FILE",
    ),
    Option(
        "driver_tls_key",
        "PHOTONDB_DRIVER_TLS_KEY",
        values.path,
        "the path of a PEM file",
        "private key of that certificate",
        "--driver-tls-key",
        "FILE",
    ),
    Option(
        "telemetry_bind",
        "PHOTONDB_TELEMETRY_BIND",
        values.word,
        "a host name or IP address",
        "address to listen on for who asks for metrics",
        "--telemetry-bind",
        "ADDRESS",
    ),
    Option(
        "telemetry_port",
        "PHOTONDB_TELEMETRY_PORT",
        _parse_port,
        _PORT,
        "port for metrics, health and diagnostics of a service; with --processes that of the gateway, which those of "
        "query, storage, auth and changefeed follow, or of the first front, which those of the latter three follow",
        "--telemetry-port",
        "PORT",
    ),
    Option(
        "nats_url",
        "PHOTONDB_NATS_URL",
        values.nats_url,
        "a URL such as nats://127.0.0.1:4222",
        "NATS server that carries the change events; without it one process needs none, "
        "and --processes starts one of its own",
        "--nats-url",
        "URL",
    ),
    Option(
        "processes",
        "PHOTONDB_PROCESSES",
        values.boolean,
        "1 or 0",
        "run each service as a process of its own",
        "--processes",
    ),
    Option(
        "fronts",
        "PHOTONDB_FRONTS",
        values.whole_number(1, MAX_FRONTS),
        f"a number from 1 to {MAX_FRONTS}",
        "with --processes: have gateway and query service in one process, a front, and so many of them, which share "
        "the clients",
        "--fronts",
        "COUNT",
    ),
    Option(
        "storage_nodes",
        "PHOTONDB_STORAGE_NODES",
        values.whole_number(1, MAX_STORAGE_NODES),
        f"a number from 1 to {MAX_STORAGE_NODES}",
        "with --processes: how many storage processes share the data",
        "--storage-nodes",
        "COUNT",
    ),
    Option(
        "front_number",
        "PHOTONDB_FRONT_NUMBER",
        values.whole_number(1, MAX_FRONTS),
        f"a number from 1 to {MAX_FRONTS}",
        "for a front: its number among several of a machine, by which logs, metrics and traces tell them apart",
    ),
    Option(
        "share_ports",
        "PHOTONDB_SHARE_PORTS",
        values.boolean,
        "1 or 0",
        "for a gateway or a front: listen beside others of this user on the same ports, among which the kernel divides "
        "the clients",
    ),
    Option(
        "default_shards",
        "PHOTONDB_DEFAULT_SHARDS",
        values.whole_number(1, 64),
        "a number from 1 to 64",
        "how many shards a new table has when `table_create` does not say; where there are several storage nodes, a "
        "table of several shards is spread over them",
        "--default-shards",
        "COUNT",
    ),
    Option(
        "log_level",
        "PHOTONDB_LOG_LEVEL",
        values.one_of("debug", "info", "warning", "error"),
        "debug, info, warning or error",
        "least severe messages to log",
        "--log-level",
        "LEVEL",
    ),
    Option(
        "log_format",
        "PHOTONDB_LOG_FORMAT",
        values.one_of("text", "json"),
        "text or json",
        "text for people, json (one object per line) for machines",
        "--log-format",
        "FORMAT",
    ),
    Option(
        "slow_query_ms",
        "PHOTONDB_SLOW_QUERY_MS",
        values.whole_number(0, 86_400_000),
        "a number of milliseconds from 0 to 86400000",
        "from how many milliseconds on a query is logged as slow; 0 for never",
        "--slow-query-ms",
        "MS",
    ),
    Option(
        "service_name",
        "OTEL_SERVICE_NAME",
        values.word,
        "a name without white space",
        "what the suite is called in telemetry; services in processes of their own add -gateway and so on",
    ),
    Option(
        "otlp_endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        values.http_url,
        "a URL such as http://127.0.0.1:4318",
        "collector that traces are sent to; without it nothing is traced",
        "--otlp-endpoint",
        "URL",
    ),
    Option(
        "otlp_protocol",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        values.one_of("grpc", "http/protobuf"),
        "grpc or http/protobuf",
        "how the collector is spoken to",
        "--otlp-protocol",
        "PROTOCOL",
    ),
    Option(
        "traces_sampler",
        "OTEL_TRACES_SAMPLER",
        values.one_of(*get_args(values.SamplerName)),
        f"one of {', '.join(get_args(values.SamplerName))}",
        "which queries are traced",
        "--traces-sampler",
        "SAMPLER",
    ),
    Option(
        "traces_sampler_arg",
        "OTEL_TRACES_SAMPLER_ARG",
        values.share,
        "a number from 0 to 1",
        "share of the queries that samplers by ratio trace",
        "--traces-sampler-arg",
        "RATIO",
    ),
    Option(
        "allow_empty_passwords",
        "PHOTONDB_ALLOW_EMPTY_PASSWORDS",
        values.boolean,
        "0 or 1",
        "whether accounts without a password may be used from other machines",
    ),
    Option(
        "http_allow_private",
        "PHOTONDB_HTTP_ALLOW_PRIVATE",
        values.boolean,
        "0 or 1",
        "whether r.http may reach loopback, private and link-local addresses",
    ),
    Option(
        "max_transaction_seconds",
        "PHOTONDB_MAX_TRANSACTION_SECONDS",
        values.whole_number(1, 86_400),
        "a number of seconds from 1 to 86400",
        "longest timeout in seconds that a transaction may have",
    ),
    Option(
        "cache_bytes",
        "PHOTONDB_CACHE_BYTES",
        values.whole_number(1 << 20),
        "a number of bytes from 1048576 (1 MB)",
        "size of storage's cache; a quarter of the memory that there is (of a container's, within it) when it is not "
        "set, at least 64 MB and at most 8 GB",
    ),
    Option(
        "column_cache_bytes",
        "PHOTONDB_COLUMN_CACHE_BYTES",
        values.whole_number(1 << 20, or_zero=True),
        "0 or a number of bytes from 1048576 (1 MB)",
        "how much memory storage may use for fields that it keeps as columns because they are scanned often, 0 for "
        "none; an eighth of the memory that there is (of a container's, within it), at most 4 GB, when it is not set",
    ),
    Option(
        "aggregate_bytes",
        "PHOTONDB_AGGREGATE_BYTES",
        values.whole_number(1 << 20),
        "a number of bytes from 1048576 (1 MB)",
        "how much memory groups, different values and first rows may take together that storage works out, before it "
        "hands them on in parts; a sixteenth of the memory that there is when it is not set",
    ),
    Option(
        "scan_workers",
        "PHOTONDB_SCAN_WORKERS",
        values.whole_number(0, 64),
        "a number from 0 to 64",
        "how many processes storage has, once there is something for them, for aggregates over large tables; one less "
        "than there are cores, at most 8, when it is not set",
    ),
    Option(
        "busy_poll_us",
        "PHOTONDB_BUSY_POLL_US",
        values.whole_number(0, 10_000),
        "a number of microseconds from 0 to 10000",
        "how long the gateway looks for the next query of a client that asks one after the other before it sleeps, 0 "
        "for not at all; 100 when it is not set, where all is one process that may use two processors or more",
    ),
    Option(
        "mmap_reads",
        "PHOTONDB_MMAP_READS",
        values.boolean,
        "0 or 1",
        "whether storage maps its table files into memory to read them",
    ),
    Option(
        "max_document_bytes",
        "PHOTONDB_MAX_DOCUMENT_BYTES",
        values.whole_number(1024, 64 << 20),
        "a number of bytes from 1024 to 67108864 (64 MB)",
        "largest document, in bytes of JSON",
    ),
    Option(
        "max_cursor_seconds",
        "PHOTONDB_MAX_CURSOR_SECONDS",
        values.whole_number(1, 86_400),
        "a number of seconds from 1 to 86400",
        "how long a cursor may be open before the snapshot that it reads is given up",
    ),
    Option(
        "max_query_seconds",
        "PHOTONDB_MAX_QUERY_SECONDS",
        values.whole_number(1, 86_400),
        "a number of seconds from 1 to 86400",
        "how long a query may be worked on before it is answered, and each further batch of it",
    ),
    Option(
        "max_query_bytes",
        "PHOTONDB_MAX_QUERY_BYTES",
        values.whole_number(16 << 20),
        "a number of bytes from 16777216 (16 MB)",
        "how much memory a query may take, about; a quarter of the memory that there is (of a container's, within it) "
        "when it is not set",
    ),
    Option(
        "max_queries_bytes",
        "PHOTONDB_MAX_QUERIES_BYTES",
        values.whole_number(16 << 20),
        "a number of bytes from 16777216 (16 MB)",
        "how much memory all queries of a query service may take together, about; half of the memory that there is, "
        "divided by the number of fronts, when it is not set",
    ),
    Option(
        "sort_bytes",
        "PHOTONDB_SORT_BYTES",
        values.whole_number(64 << 10),
        "a number of bytes from 65536 (64 KB)",
        "how much memory a sort, a group or the different values of a sequence may hold before the rest is put aside "
        "on the disk; a quarter of what a query may take, at most 256 MB, when it is not set",
    ),
    Option(
        "spill_dir",
        "PHOTONDB_SPILL_DIR",
        values.path,
        "the path of a directory",
        "directory for what sorts and groups cannot keep in memory; it is made if it does not exist; `spill` in the "
        "data directory when it is not set",
    ),
    Option(
        "spill_bytes",
        "PHOTONDB_SPILL_BYTES",
        values.whole_number(0),
        "a number of bytes (0 lets nothing be put aside)",
        "how much of that disk all queries of a query service may use together; half of what is free when it is not "
        "set",
    ),
    Option(
        "result_cache_bytes",
        "PHOTONDB_RESULT_CACHE_BYTES",
        values.whole_number(0),
        "a number of bytes (0 keeps nothing)",
        "how much memory the answers to queries with the run option `cache` may take",
    ),
    Option(
        "admin_password",
        "PHOTONDB_ADMIN_PASSWORD",
        values.password,
        "a password",
        "password that `admin` is given at the start, as long as it has none",
    ),
    *(
        Option(
            f"{service}_address",
            f"PHOTONDB_{service.upper()}_ADDRESS",
            values.address,
            _ADDRESS,
            f"where the {service} service serves the others",
        )
        for service in DEFAULT_ADDRESSES
        if service != "query"
    ),
    Option(
        "query_address",
        "PHOTONDB_QUERY_ADDRESS",
        values.addresses,
        f"{_ADDRESS}, or several of them with commas",
        "where the query service serves the others; for a gateway it may be several addresses with commas, or a host "
        "name with several IP addresses",
    ),
    Option(
        "storage_addresses",
        "PHOTONDB_STORAGE_ADDRESSES",
        values.addresses,
        f"{_ADDRESS}, or several of them with commas",
        "where the storage nodes serve the others, by their numbers, where there are several; the same for all "
        "services",
    ),
    Option(
        "storage_node",
        "PHOTONDB_STORAGE_NODE",
        values.ordinal(MAX_STORAGE_NODES - 1),
        f"a number from 0 to {MAX_STORAGE_NODES - 1}, or a host name that ends in - and such a number",
        "for a storage service: its number among those of PHOTONDB_STORAGE_ADDRESSES",
    ),
    Option(
        "rpc_tls_cert",
        "PHOTONDB_RPC_TLS_CERT",
        values.path,
        "the path of a PEM file",
        "certificate chain that a service shows the others on tcp: addresses",
    ),
    Option(
        "rpc_tls_key",
        "PHOTONDB_RPC_TLS_KEY",
        values.path,
        "the path of a PEM file",
        "private key of that certificate",
    ),
    Option(
        "rpc_tls_ca",
        "PHOTONDB_RPC_TLS_CA",
        values.path,
        "the path of a PEM file",
        "authority that must have signed the certificates of the other services",
    ),
)
"""Every setting, in the order in which help texts list them."""

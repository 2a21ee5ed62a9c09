"""What the suite is told from outside: command-line flags and environment variables, checked once at the start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from photondb.rpc.endpoints import parse_addresses

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
OtlpProtocol = Literal["grpc", "http/protobuf"]
SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class StartupError(Exception):
    """The suite or a service cannot start for a reason that its operator can mend.

    The message is one line that names the cause and the remedy. It is shown as it is, without a traceback.
    """


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. A port of 0 means any free one; a path or address of None means that it is not set.

    A service's address is where it serves the others, `unix:/path` or `tcp:host:port`.
    """

    data_dir: Path = Path("data")
    bind: str = "127.0.0.1"
    driver_port: int = 28015
    http_port: int = 8080
    telemetry_bind: str = "127.0.0.1"
    telemetry_port: int = 0
    nats_url: str | None = None
    processes: bool = False
    fronts: int = 1
    share_ports: bool = False
    query_address: str | None = None
    storage_address: str | None = None
    auth_address: str | None = None
    changefeed_address: str | None = None
    rpc_tls_cert: Path | None = None
    rpc_tls_key: Path | None = None
    rpc_tls_ca: Path | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    slow_query_ms: int = 1_000
    service_name: str = "photondb"
    otlp_endpoint: str | None = None
    otlp_protocol: OtlpProtocol = "http/protobuf"
    traces_sampler: SamplerName = "parentbased_always_on"
    traces_sampler_arg: float = 1.0
    http_allow_private: bool = False
    max_transaction_seconds: int = 600
    cache_bytes: int | None = None
    column_cache_bytes: int | None = None
    scan_workers: int | None = None
    mmap_reads: bool = False
    max_document_bytes: int = 16 << 20
    max_cursor_seconds: int = 3600
    max_query_seconds: int = 3600
    max_query_bytes: int | None = None
    result_cache_bytes: int = 64 << 20
    admin_password: str | None = field(default=None, repr=False)

    @classmethod
    def load(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Settings:
        """Settings from `flags` (by field name), else from the environment, else the defaults.

        An empty environment variable counts as unset, because compose files and unit files make those easily. A
        variable that is not set may be in a file, which the variable with `_FILE` behind its name has the path of:
        that is how containers are given secrets. Raises StartupError naming the flag or variable that is wrong.
        """
        values: dict[str, Any] = {}
        for option in OPTIONS:
            in_file = f"{option.variable}_FILE"
            if option.field in flags:
                source, text = option.flag or option.field, flags[option.field]
            elif environ.get(option.variable):
                source, text = option.variable, environ[option.variable]
            elif environ.get(in_file):
                source, text = f"what is in the file of {in_file}", _read(in_file, environ[in_file])
            else:
                continue
            try:
                values[option.field] = option.parse(text)
            except ValueError:
                shown = f", not {text!r}" if environ.get(in_file) is None else ""
                raise StartupError(f"{source} must be {option.expected}{shown}") from None
        settings = cls(**values)
        settings._check_combinations()
        return settings

    def _check_combinations(self) -> None:
        if self.driver_port == self.http_port != 0:
            raise StartupError(
                f"--driver-port and --http-port are both {self.http_port}: choose another for one of them"
            )
        if self.fronts > 1 and not self.processes:
            raise StartupError("--fronts needs --processes: one process is one front")
        if self.processes and self.telemetry_port > 65536 - len(SERVICES) - 2 * (self.fronts - 1):
            raise StartupError(f"--telemetry-port {self.telemetry_port} leaves no room for the ports of all services")
        if (self.rpc_tls_cert is None) != (self.rpc_tls_key is None):
            raise StartupError("PHOTONDB_RPC_TLS_CERT and PHOTONDB_RPC_TLS_KEY go together: set both or neither")

    def to_environment(self) -> dict[str, str]:
        """The variables from which `load` makes these settings again, for a child process."""
        environment = {}
        for option in OPTIONS:
            value = getattr(self, option.field)
            if value is not None:
                environment[option.variable] = str(int(value)) if isinstance(value, bool) else str(value)
        return environment

    def address_of(self, service: str) -> str:
        """Where the service `query`, `storage`, `auth` or `changefeed` serves the others."""
        return getattr(self, f"{service}_address") or DEFAULT_ADDRESSES[service]

    def with_addresses(self, addresses: Mapping[str, str]) -> Settings:
        """These settings with the addresses of services that were not set filled in from `addresses`, by service."""
        missing: dict[str, Any] = {f"{service}_address": address for service, address in addresses.items()}
        return replace(self, **{field: value for field, value in missing.items() if getattr(self, field) is None})


MAX_FRONTS = 64

SERVICES = ("gateway", "query", "storage", "auth", "changefeed")
"""In the order of their telemetry ports."""

DEFAULT_ADDRESSES: Mapping[str, str] = {
    "query": "tcp:127.0.0.1:28101",
    "storage": "tcp:127.0.0.1:28102",
    "auth": "tcp:127.0.0.1:28103",
    "changefeed": "tcp:127.0.0.1:28104",
}
"""Where services that were started alone find each other when nothing says otherwise."""


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


def _read(variable: str, path: str) -> str:
    """The content of a file that a variable names, without the end of its last line. Raises StartupError."""
    try:
        return Path(path).read_text().removesuffix("\n")
    except OSError as error:
        raise StartupError(f"the file of {variable} cannot be read: {path}: {error.strerror}") from None
    except ValueError:
        raise StartupError(f"the file of {variable} is no text: {path}") from None


def _password(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _text(text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise ValueError
    return text


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError
    return int(text)


def _fronts(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_FRONTS:
        raise ValueError
    return int(text)


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 86_400:
        raise ValueError
    return int(text)


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 86_400_000:
        raise ValueError
    return int(text)


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def _cache_bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1 << 20:
        raise ValueError
    return int(text)


def _column_cache_bytes(text: str) -> int:
    return 0 if text == "0" else _cache_bytes(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 64:
        raise ValueError
    return int(text)


def _query_bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 16 << 20:
        raise ValueError
    return int(text)


def _result_cache_bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _document_bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1024 <= int(text) <= 64 << 20:
        raise ValueError
    return int(text)


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError from None


def _nats_url(text: str) -> str:
    for server in text.split(","):
        parts = urlsplit(server.strip())
        if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.port == 0:
            raise ValueError
    return text


def _addresses(text: str) -> str:
    for address in parse_addresses(text):
        if address.path is None and address.port == 0:
            raise ValueError  # the other services could not know which port was free
    return text


def _address(text: str) -> str:
    if "," in text:
        raise ValueError
    return _addresses(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse


_PORT = "a port number from 0 (any free port) to 65535"
_ADDRESS = "unix:/path (of at most 107 bytes) or tcp:host:port"

OPTIONS: tuple[Option, ...] = (
    Option(
        "data_dir",
        "PHOTONDB_DATA_DIR",
        _path,
        "the path of a directory",
        "directory that holds the data; it is made if it does not exist",
        "--data-dir",
        "DIR",
    ),
    Option(
        "bind",
        "PHOTONDB_BIND",
        _text,
        "a host name or IP address",
        "address to listen on for clients; 0.0.0.0 for all",
        "--bind",
        "ADDRESS",
    ),
    Option("driver_port", "PHOTONDB_DRIVER_PORT", _port, _PORT, "port for drivers", "--driver-port", "PORT"),
    Option("http_port", "PHOTONDB_HTTP_PORT", _port, _PORT, "port for HTTP", "--http-port", "PORT"),
    Option(
        "telemetry_bind",
        "PHOTONDB_TELEMETRY_BIND",
        _text,
        "a host name or IP address",
        "address to listen on for who asks for metrics",
        "--telemetry-bind",
        "ADDRESS",
    ),
    Option(
        "telemetry_port",
        "PHOTONDB_TELEMETRY_PORT",
        _port,
        _PORT,
        "port for metrics, health and diagnostics of a service; with --processes that of the gateway, which those of "
        "query, storage, auth and changefeed follow",
        "--telemetry-port",
        "PORT",
    ),
    Option(
        "nats_url",
        "PHOTONDB_NATS_URL",
        _nats_url,
        "a URL such as nats://127.0.0.1:4222",
        "NATS server that carries the change events; without it one process needs none, "
        "and --processes starts one of its own",
        "--nats-url",
        "URL",
    ),
    Option(
        "processes",
        "PHOTONDB_PROCESSES",
        _boolean,
        "1 or 0",
        "run each service as a process of its own",
        "--processes",
    ),
    Option(
        "fronts",
        "PHOTONDB_FRONTS",
        _fronts,
        f"a number from 1 to {MAX_FRONTS}",
        "with --processes: how many pairs of a gateway and a query service share the clients",
        "--fronts",
        "COUNT",
    ),
    Option(
        "share_ports",
        "PHOTONDB_SHARE_PORTS",
        _boolean,
        "1 or 0",
        "for a gateway: listen beside other gateways of this user on the same ports, among which the kernel divides "
        "the clients",
    ),
    Option(
        "log_level",
        "PHOTONDB_LOG_LEVEL",
        _one_of("debug", "info", "warning", "error"),
        "debug, info, warning or error",
        "least severe messages to log",
        "--log-level",
        "LEVEL",
    ),
    Option(
        "log_format",
        "PHOTONDB_LOG_FORMAT",
        _one_of("text", "json"),
        "text or json",
        "text for people, json (one object per line) for machines",
        "--log-format",
        "FORMAT",
    ),
    Option(
        "slow_query_ms",
        "PHOTONDB_SLOW_QUERY_MS",
        _milliseconds,
        "a number of milliseconds from 0 to 86400000",
        "from how many milliseconds on a query is logged as slow; 0 for never",
        "--slow-query-ms",
        "MS",
    ),
    Option(
        "service_name",
        "OTEL_SERVICE_NAME",
        _text,
        "a name without white space",
        "what the suite is called in telemetry; services in processes of their own add -gateway and so on",
    ),
    Option(
        "otlp_endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        _http_url,
        "a URL such as http://127.0.0.1:4318",
        "collector that traces are sent to; without it nothing is traced",
        "--otlp-endpoint",
        "URL",
    ),
    Option(
        "otlp_protocol",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        _one_of("grpc", "http/protobuf"),
        "grpc or http/protobuf",
        "how the collector is spoken to",
        "--otlp-protocol",
        "PROTOCOL",
    ),
    Option(
        "traces_sampler",
        "OTEL_TRACES_SAMPLER",
        _one_of(*get_args(SamplerName)),
        f"one of {', '.join(get_args(SamplerName))}",
        "which queries are traced",
        "--traces-sampler",
        "SAMPLER",
    ),
    Option(
        "traces_sampler_arg",
        "OTEL_TRACES_SAMPLER_ARG",
        _share,
        "a number from 0 to 1",
        "share of the queries that samplers by ratio trace",
        "--traces-sampler-arg",
        "RATIO",
    ),
    Option(
        "http_allow_private",
        "PHOTONDB_HTTP_ALLOW_PRIVATE",
        _boolean,
        "0 or 1",
        "whether r.http may reach loopback, private and link-local addresses",
    ),
    Option(
        "max_transaction_seconds",
        "PHOTONDB_MAX_TRANSACTION_SECONDS",
        _seconds,
        "a number of seconds from 1 to 86400",
        "longest timeout in seconds that a transaction may have",
    ),
    Option(
        "cache_bytes",
        "PHOTONDB_CACHE_BYTES",
        _cache_bytes,
        "a number of bytes from 1048576 (1 MB)",
        "size of storage's cache; a quarter of the memory that there is (of a container's, within it) when it is not "
        "set, at least 64 MB and at most 8 GB",
    ),
    Option(
        "column_cache_bytes",
        "PHOTONDB_COLUMN_CACHE_BYTES",
        _column_cache_bytes,
        "0 or a number of bytes from 1048576 (1 MB)",
        "how much memory storage may use for fields that it keeps as columns because they are scanned often, 0 for "
        "none; an eighth of the memory that there is (of a container's, within it), at most 4 GB, when it is not set",
    ),
    Option(
        "scan_workers",
        "PHOTONDB_SCAN_WORKERS",
        _workers,
        "a number from 0 to 64",
        "how many processes storage has, once there is something for them, for aggregates over large tables; one less "
        "than there are cores, at most 8, when it is not set",
    ),
    Option(
        "mmap_reads",
        "PHOTONDB_MMAP_READS",
        _boolean,
        "0 or 1",
        "whether storage maps its table files into memory to read them",
    ),
    Option(
        "max_document_bytes",
        "PHOTONDB_MAX_DOCUMENT_BYTES",
        _document_bytes,
        "a number of bytes from 1024 to 67108864 (64 MB)",
        "largest document, in bytes of JSON",
    ),
    Option(
        "max_cursor_seconds",
        "PHOTONDB_MAX_CURSOR_SECONDS",
        _seconds,
        "a number of seconds from 1 to 86400",
        "how long a cursor may be open before the snapshot that it reads is given up",
    ),
    Option(
        "max_query_seconds",
        "PHOTONDB_MAX_QUERY_SECONDS",
        _seconds,
        "a number of seconds from 1 to 86400",
        "how long a query may be worked on before it is answered, and each further batch of it",
    ),
    Option(
        "max_query_bytes",
        "PHOTONDB_MAX_QUERY_BYTES",
        _query_bytes,
        "a number of bytes from 16777216 (16 MB)",
        "how much memory a query may take, about; a quarter of the memory that there is (of a container's, within it) "
        "when it is not set",
    ),
    Option(
        "result_cache_bytes",
        "PHOTONDB_RESULT_CACHE_BYTES",
        _result_cache_bytes,
        "a number of bytes (0 keeps nothing)",
        "how much memory the answers to queries with the run option `cache` may take",
    ),
    Option(
        "admin_password",
        "PHOTONDB_ADMIN_PASSWORD",
        _password,
        "a password",
        "password that `admin` is given at the start, as long as it has none",
    ),
    *(
        Option(
            f"{service}_address",
            f"PHOTONDB_{service.upper()}_ADDRESS",
            _address,
            _ADDRESS,
            f"where the {service} service serves the others",
        )
        for service in DEFAULT_ADDRESSES
        if service != "query"
    ),
    Option(
        "query_address",
        "PHOTONDB_QUERY_ADDRESS",
        _addresses,
        f"{_ADDRESS}, or several of them with commas",
        "where the query service serves the others; for a gateway it may be several addresses with commas, or a host "
        "name with several IP addresses",
    ),
    Option(
        "rpc_tls_cert",
        "PHOTONDB_RPC_TLS_CERT",
        _path,
        "the path of a PEM file",
        "certificate chain that a service shows the others on tcp: addresses",
    ),
    Option(
        "rpc_tls_key",
        "PHOTONDB_RPC_TLS_KEY",
        _path,
        "the path of a PEM file",
        "private key of that certificate",
    ),
    Option(
        "rpc_tls_ca",
        "PHOTONDB_RPC_TLS_CA",
        _path,
        "the path of a PEM file",
        "authority that must have signed the certificates of the other services",
    ),
)
"""Every setting, in the order in which help texts list them."""


def default_of(option: Option) -> str | None:
    """The default as a help text shows it; None where there is none."""
    value = next(field.default for field in fields(Settings) if field.name == option.field)
    if isinstance(value, bool) or value is None:
        return None
    return f"./{value}" if isinstance(value, Path) else str(value)

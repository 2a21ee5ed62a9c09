"""What is kept of a password: enough to check it, and nothing to log in with (RFC 5802, section 3)."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec

DEFAULT_ITERATIONS = 4096
"""Of PBKDF2; RethinkDB's default. Every login costs the client this much."""

MAX_ITERATIONS = 10_000_000
"""Ten million take some seconds."""

SALT_BYTES = 16


class Credentials(msgspec.Struct, frozen=True):
    """The server's side of SCRAM-SHA-256 for one password. `is_empty` says that it is the empty password."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    is_empty: bool

    @classmethod
    def of(cls, password: str, iterations: int, salt: bytes | None = None) -> Credentials:
        """Credentials for a password, with a new salt unless one is given. Takes a while: about 1 us per iteration."""
        salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        salted = _salted(password, salt, iterations)
        return cls(
            salt=salt,
            iterations=iterations,
            stored_key=hashlib.sha256(_hmac(salted, b"Client Key")).digest(),
            server_key=_hmac(salted, b"Server Key"),
            is_empty=not password,
        )

    @classmethod
    def of_unknown_user(cls, name: str, secret: bytes) -> Credentials:
        """Credentials that no password matches, always the same for a name: they look like those of a user."""
        return cls(
            salt=_hmac(secret, name.encode("utf-8", "surrogatepass"))[:SALT_BYTES],
            iterations=DEFAULT_ITERATIONS,
            stored_key=secrets.token_bytes(hashlib.sha256().digest_size),
            server_key=b"",
            is_empty=False,
        )

    def matches_password(self, password: str) -> bool:
        """Whether this is the password. Takes as long as `of`."""
        salted = _salted(password, self.salt, self.iterations)
        return self._matches_client_key(_hmac(salted, b"Client Key"))

    def matches_proof(self, proof: bytes, auth_message: bytes) -> bool:
        """Whether the ClientProof of RFC 5802 is that of somebody who knows the password."""
        signature = _hmac(self.stored_key, auth_message)
        if len(proof) != len(signature):
            return False
        return self._matches_client_key(bytes(a ^ b for a, b in zip(proof, signature, strict=True)))

    def server_signature(self, auth_message: bytes) -> bytes:
        """The ServerSignature of RFC 5802, by which the client knows that the server knows the password, too."""
        return _hmac(self.server_key, auth_message)

    def _matches_client_key(self, client_key: bytes) -> bool:
        return hmac.compare_digest(hashlib.sha256(client_key).digest(), self.stored_key)


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt, iterations)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")

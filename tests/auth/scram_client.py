"""The client's side of SCRAM-SHA-256, written from RFC 5802 and not from the server's code."""

from __future__ import annotations

import base64
import hashlib
import hmac


def client_final(bare: str, server_first: str, password: str, nonce: str | None = None) -> tuple[str, str]:
    """The client's final message, and the server's that it expects."""
    attributes = dict(part.split("=", 1) for part in server_first.split(","))
    salt, iterations = base64.b64decode(attributes["s"]), int(attributes["i"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={nonce or attributes['r']}"
    auth_message = f"{bare},{server_first},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), auth_message, "sha256")
    proof = (int.from_bytes(client_key) ^ int.from_bytes(signature)).to_bytes(32)
    server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth_message, "sha256")
    return (
        f"{without_proof},p={base64.b64encode(proof).decode()}",
        "v=" + base64.b64encode(server_signature).decode(),
    )

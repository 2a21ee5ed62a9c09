"""What PhotonDB adds for programs that use it through RethinkDB's official driver: transactions."""

from photondb.client.transactions import Transaction, transaction

__all__ = ["Transaction", "transaction"]

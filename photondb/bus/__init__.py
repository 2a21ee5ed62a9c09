"""Publish and subscribe between the services: over NATS, or inside one process, with the same interface."""

from photondb.bus.interface import Bus, BusMessage, Content, GapListener, Handler, Subscription
from photondb.bus.local import LocalBus
from photondb.bus.nats import NatsBus

__all__ = ["Bus", "BusMessage", "Content", "GapListener", "Handler", "LocalBus", "NatsBus", "Subscription"]

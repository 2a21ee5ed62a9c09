"""The interfaces of the five services: Protocol classes, and the messages that they exchange."""

"""What the query service counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from photondb.telemetry import catalogue
from photondb.telemetry.histogram import Histogram
from photondb.telemetry.requests import RequestMetrics
from photondb.telemetry.scrape import Scrape
from services.query.feeds import FeedCursor

if TYPE_CHECKING:
    from services.query.service import Query


class QueryMetrics:
    """Plain numbers, which batches and queries count up."""

    def __init__(self) -> None:
        self.requests = RequestMetrics("query")
        self.batch_reads = Histogram(catalogue.QUERY_READ_BATCH)
        self.batch_writes = Histogram(catalogue.QUERY_WRITE_BATCH)
        self.timeouts = 0

    def collect(self, query: Query, scrape: Scrape) -> None:
        """Write the numbers into a reading, and how much there is of what the service keeps."""
        channels = list(query.channels)
        sessions = [session for channel in channels for session in channel.sessions.values()]
        cursors = [cursor for session in sessions for cursor in session.cursors.values()]
        feeds = sum(isinstance(cursor, FeedCursor) for cursor in cursors)
        self.requests.in_flight = running = sum(len(session.running) for session in sessions)
        self.requests.collect(scrape)
        scrape.add(catalogue.QUERY_SESSIONS, len(sessions))
        scrape.add(catalogue.QUERY_RUNNING, running)
        scrape.add(catalogue.QUERY_CURSORS, len(cursors) - feeds)
        scrape.add(catalogue.QUERY_FEEDS, feeds)
        scrape.add(catalogue.QUERY_UNSENT, sum(channel.unsent for channel in channels))
        scrape.add_histogram(catalogue.QUERY_READ_BATCH, self.batch_reads)
        scrape.add_histogram(catalogue.QUERY_WRITE_BATCH, self.batch_writes)
        scrape.add(catalogue.QUERY_TIMEOUTS, self.timeouts)
        scrape.add(catalogue.QUERY_MEMORY, query.memory.used)
        scrape.add(catalogue.QUERY_MEMORY_LIMIT, query.memory.limit)
        scrape.add(catalogue.QUERY_MEMORY_REFUSED, query.memory.refused)
        scrape.add(catalogue.QUERY_SPILL_FILES, query.spills.files)
        scrape.add(catalogue.QUERY_SPILL_WRITTEN, query.spills.bytes_written)
        scrape.add(catalogue.QUERY_SPILL_BYTES, query.spills.bytes)
        scrape.add(catalogue.RESULT_CACHE_HITS, query.results.hits)
        scrape.add(catalogue.RESULT_CACHE_MISSES, query.results.misses)
        scrape.add(catalogue.RESULT_CACHE_BYTES, query.results.bytes)
        plans = query.plans
        scrape.add(catalogue.PLAN_CACHE_HITS, plans.hits)
        scrape.add(catalogue.PLAN_CACHE_MISSES, plans.misses)
        scrape.add(catalogue.PLAN_CACHE_PLANS, len(plans))
        scrape.add(catalogue.PLAN_CACHE_TERMS, plans.weight)

"""A consumer of Legato's summaries to copy from: it keeps every leg and session in a file, each revision once, the newest one last.

    pip install nats-py
    NATS_URL=nats://127.0.0.1:4222 python3 consumer.py calls.ndjson

Messages are delivered at least once and not always in the order of their revisions. The file has the effect exactly once: a
revision that is not higher than what the file has of that id changes nothing, and a message is acknowledged when it is on disk.
"""

import asyncio
import json
import os
import signal
import sys

STREAM = "CALLS"  # follows --subject-prefix
DURABLE = "warehouse-python"  # the server remembers how far it came
AT_ONCE = 500  # messages share one sync of the disk
FIRST_PAUSE, MAX_PAUSE = 1.0, 30.0  # after a disturbance; they double


def key(summary: dict) -> tuple[str, str, str]:
    return summary["kind"], summary["call_session_id"], summary.get("call_leg_id", "")


class StoreError(Exception):
    """The file cannot be written: what is not kept is not acknowledged, and the consumer ends."""


class Store:
    """The file, and the highest revision that it has of each id."""

    def __init__(self, path: str) -> None:
        self.newest: dict[tuple[str, str, str], int] = {}
        self.taken = 0  # how many messages were made last
        self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        whole = 0
        for line in self.file:
            if not line.endswith(b"\n"):
                break  # a crash left it unfinished
            whole += len(line)
            summary = json.loads(line)
            self.newest[key(summary)] = max(self.newest.get(key(summary), 0), summary["revision"])
        self.file.truncate(whole)
        self.file.seek(whole)

    def put(self, body: bytes) -> bool:
        """Adds a summary unless the file has a revision as high. Raises ValueError for what is no summary."""
        summary = json.loads(body)
        try:
            of, revision = key(summary), int(summary["revision"])
            known = self.newest.get(of, 0)
        except (KeyError, TypeError) as err:
            raise ValueError("not a summary") from err
        if revision <= known:
            return False
        self.newest[of] = revision
        try:
            self.file.write(body.replace(b"\n", b" ") + b"\n")
        except OSError as err:
            raise StoreError(str(err)) from err
        return True

    def sync(self) -> None:
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as err:
            raise StoreError(str(err)) from err


async def take(js, store: Store, stop: asyncio.Event) -> None:
    """Takes summaries down until stop is set or something goes wrong."""
    from nats.js.api import AckPolicy, ConsumerConfig
    from nats.errors import TimeoutError as NothingCame

    # Made sure of: it is gone when the stream was removed and made anew.
    config = ConsumerConfig(durable_name=DURABLE, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=2 * AT_ONCE,
                            filter_subjects=["calls.leg.>", "calls.session.>"])
    await js.add_consumer(STREAM, config)
    subscription = await js.pull_subscribe_bind(durable=DURABLE, stream=STREAM)
    while not stop.is_set():
        try:
            messages = await subscription.fetch(AT_ONCE, timeout=1)
        except NothingCame:
            continue
        taken = []
        for message in messages:
            try:
                store.put(message.data)
            except ValueError:
                print("not a summary:", message.subject, file=sys.stderr)  # never the body: it has phone numbers
                await message.term()
                continue
            taken.append(message)
        store.sync()
        store.taken += len(taken)
        for message in taken:
            await message.ack()  # one that is lost brings the message again, which then changes nothing


async def main(path: str) -> None:
    import nats

    store, stop = Store(path), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    servers = os.environ.get("NATS_URL", "nats://127.0.0.1:4222").split(",")
    connection = await nats.connect(servers, max_reconnect_attempts=-1)
    pause = FIRST_PAUSE
    while not stop.is_set():
        before = store.taken
        # What NATS does not do passes: a server restarts, a leader steps down, the stream is made anew.
        try:
            await take(connection.jetstream(), store, stop)
        except StoreError:
            raise
        except Exception as err:
            if store.taken > before:
                pause = FIRST_PAUSE
            print(f"interrupted, trying again in {pause:.0f} s: {err}", file=sys.stderr)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except asyncio.TimeoutError:
                pause = min(2 * pause, MAX_PAUSE)
    await connection.drain()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: consumer.py FILE")
    asyncio.run(main(sys.argv[1]))

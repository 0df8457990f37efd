"""A payout provider to develop and test with: it pays nobody, keeps a book of what it would have paid, and misbehaves
when told to.

It stands for somebody outside, so nothing of Gozon is in it but the shape of a recipient, and Gozon reaches it over
HTTP only. `python -m stack.provider HOST:PORT BOOK` listens there and keeps the book in the file BOOK, which survives
kill -9; the secret that callers must have is in GOZON_PROVIDER_SECRET. What it answers: docs/operations.md.
"""

import hashlib
import hmac
import json
import os
import random
import sqlite3
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

PAID, DECLINED, PENDING = "PAID", "DECLINED", "PENDING"
DECLINE = "decline"
PEND = "pend"
TWICE = "twice"
BROKEN = "broken"
ERROR_BEFORE = "error_before"
ERROR_AFTER = "error_after"
TIME_OUT_BEFORE = "time_out_before"
TIME_OUT_AFTER = "time_out_after"
MISBEHAVIOUR = {
    DECLINE: "says no, with a reason",
    PEND: "says that it will pay, and has done so pending_seconds later",
    TWICE: "pays and sends its answer twice",
    BROKEN: "pays and breaks off in the middle of its answer",
    ERROR_BEFORE: "answers 500 and has done nothing",
    ERROR_AFTER: "answers 500 and has paid",
    TIME_OUT_BEFORE: "says nothing for hold_seconds and has done nothing",
    TIME_OUT_AFTER: "says nothing for hold_seconds and has paid",
}
"""What it may do when it is asked to pay; when it is asked what it has done, the two that do nothing."""
DECLINED_CARD = "4000000000000002"
"""Always declined."""
DECLINED_REASON = "the bank of the recipient declined it"
PENDING_CARD = "4000000000000259"
"""Always paid a little later."""
MAX_BODY_BYTES = 16 * 1024
MAX_KEY_LENGTH = 128
MAX_NEXT = 1_000


class BadRequest(Exception):
    """The request is refused, with this HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Behaviour:
    """How the provider behaves; all zero, it is perfect."""

    pay: list[str] = field(default_factory=list)
    """What it does about the next requests to pay, one each; these come first."""
    find: list[str] = field(default_factory=list)
    """The same about the next questions."""
    rates: dict[str, float] = field(default_factory=dict)
    """What it does at random, each with its probability."""
    delay_seconds: float = 0.0
    """Before each answer."""
    pending_seconds: float = 2.0
    hold_seconds: float = 30.0

    @classmethod
    def read(cls, data: Any) -> "Behaviour":
        """Reads what a client sent. Errors: BadRequest."""
        if not isinstance(data, dict) or (data.keys() - cls.__dataclass_fields__.keys()):
            raise BadRequest(400, f"an object of {', '.join(cls.__dataclass_fields__)}")
        try:
            read = cls(**data)
            seconds = (float(read.delay_seconds), float(read.pending_seconds), float(read.hold_seconds))
            rates = {str(word): float(rate) for word, rate in read.rates.items()}
            words = {*read.pay, *read.find, *rates}
        except (AttributeError, TypeError, ValueError):
            raise BadRequest(400, "a field of the behaviour is of the wrong type") from None
        if words - MISBEHAVIOUR.keys():
            raise BadRequest(400, f"it can only {', '.join(MISBEHAVIOUR)}")
        # Written so that what is not a number is refused too.
        if not all(0 <= each <= 600 for each in seconds) or not all(each >= 0 for each in (*rates.values(), 0)):
            raise BadRequest(400, "0 to 600 seconds, and no rate below 0")
        if not sum(rates.values()) <= 1:
            raise BadRequest(400, "rates that sum to 1 at most")
        if max(len(read.pay), len(read.find)) > MAX_NEXT:
            raise BadRequest(400, f"at most {MAX_NEXT} to come")
        return cls(list(read.pay), list(read.find), rates, *seconds)


@dataclass(frozen=True)
class Payout:
    """What the provider has decided about one key."""

    key: str
    status: str
    reason: str
    reference: str


class Book:
    """All that the provider ever did, a row for each idempotency key: what makes a second payment impossible."""

    def __init__(self, path: Path, secret: str) -> None:
        self._secret = secret.encode()
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(_SCHEMA)

    def pay(self, key: str, request: dict[str, Any], word: str, pending_seconds: float) -> Payout:
        """Pays or declines, once for each key; a repetition gets the first answer. Errors: BadRequest."""
        card = str(request["recipient"].get("card", {}).get("number", "")).replace(" ", "")
        declined = word == DECLINE or card == DECLINED_CARD
        pending = word == PEND or card == PENDING_CARD
        now = time.time()
        row = {
            "key": key,
            # With a key of its own, so that nobody reads a card number back out of it.
            "request": hmac.new(self._secret, json.dumps(request, sort_keys=True).encode(), hashlib.sha256).hexdigest(),
            "amount": request["amount"],
            "currency": request["currency"],
            "status": DECLINED if declined else PAID,
            "reason": DECLINED_REASON if declined else "",
            "reference": "" if declined else f"sim-{uuid.uuid4().hex[:16]}",
            "settles_at": now + pending_seconds if pending else now,
            "created_at": now,
        }
        with self._lock:
            self._connection.execute(_PAY, row)
            found = self._connection.execute(_FIND, row).fetchone()
        if found["request"] != row["request"]:
            raise BadRequest(409, "this idempotency key was used with another request")
        return _payout(found)

    def find(self, key: str) -> Payout | None:
        """Returns what was decided about a key."""
        with self._lock:
            found = self._connection.execute(_FIND, {"key": key}).fetchone()
        return _payout(found) if found else None

    def all(self) -> list[dict[str, Any]]:
        """Returns everything, oldest first."""
        with self._lock:
            rows = self._connection.execute("SELECT * FROM payouts ORDER BY created_at, key").fetchall()
        return [
            asdict(_payout(row)) | {name: row[name] for name in ("amount", "currency", "requests", "created_at")}
            for row in rows
        ]

    def behaviour(self) -> Behaviour:
        """Returns how it behaves."""
        with self._lock:
            return self._behaviour()

    def behave(self, behaviour: Behaviour) -> None:
        """Makes it behave like this from now on, after a restart too."""
        with self._lock:
            self._save(behaviour)

    def next_word(self, kind: str) -> tuple[str, Behaviour]:
        """Returns what to do about a request of this kind, "pay" or "find" (empty: what is right), and the rest."""
        with self._lock:
            behaviour = self._behaviour()
            if coming := getattr(behaviour, kind):
                self._save(Behaviour(**asdict(behaviour) | {kind: coming[1:]}))
                return coming[0], behaviour
        rates = behaviour.rates
        [word] = random.choices([*rates, ""], [*rates.values(), 1 - sum(rates.values())])
        return word, behaviour

    def _behaviour(self) -> Behaviour:
        row = self._connection.execute("SELECT settings FROM behaviour").fetchone()
        return Behaviour(**json.loads(row["settings"])) if row else Behaviour()

    def _save(self, behaviour: Behaviour) -> None:
        self._connection.execute(_BEHAVE, (json.dumps(asdict(behaviour)),))


def _payout(row: sqlite3.Row) -> Payout:
    if row["settles_at"] > time.time():
        return Payout(row["key"], PENDING, "", "")
    return Payout(row["key"], row["status"], row["reason"], row["reference"])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    book: Book
    secret: str

    def do_GET(self) -> None:
        """GET /healthz, /payouts/KEY, /book, /behaviour."""
        self._handle(self._get)

    def do_POST(self) -> None:
        """POST /payouts."""
        self._handle(self._post)

    def do_PUT(self) -> None:
        """PUT /behaviour."""
        self._handle(self._put)

    def _handle(self, method: Any) -> None:
        try:
            if self.path != "/healthz":
                self._authorize()
            method()
        except BadRequest as error:
            # Its body may not have been read.
            self.close_connection = True
            self._answer(error.status, {"error": str(error)})
        except (ConnectionError, TimeoutError):
            # Whoever it was has left, or sends no more.
            self.close_connection = True

    def _get(self) -> None:
        kind, _, key = self.path.removeprefix("/").partition("/")
        match kind:
            case "healthz":
                self._answer(200, {})
            case "book":
                self._answer(200, {"payouts": self.book.all()})
            case "behaviour":
                self._answer(200, asdict(self.book.behaviour()))
            case "payouts" if key:
                word, behaviour = self.book.next_word("find")
                if not self._failed(word == ERROR_BEFORE, word == TIME_OUT_BEFORE, behaviour):
                    payout = self.book.find(unquote(key))
                    self._answer(200 if payout else 404, asdict(payout) if payout else {"error": "no such key"})
            case _:
                raise BadRequest(404, "there is no such page")

    def _put(self) -> None:
        if self.path != "/behaviour":
            raise BadRequest(404, "there is no such page")
        behaviour = Behaviour.read(self._body())
        self.book.behave(behaviour)
        self._answer(200, asdict(behaviour))

    def _post(self) -> None:
        if self.path != "/payouts":
            raise BadRequest(404, "there is no such page")
        key = self.headers.get("idempotency-key", "")
        if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
            raise BadRequest(400, f"an idempotency-key of 1 to {MAX_KEY_LENGTH} characters is missing")
        request = _checked(self._body())
        word, behaviour = self.book.next_word("pay")
        if self._failed(word == ERROR_BEFORE, word == TIME_OUT_BEFORE, behaviour):
            return
        payout = self.book.pay(key, request, word, behaviour.pending_seconds)
        if self._failed(word == ERROR_AFTER, word == TIME_OUT_AFTER, behaviour):
            return
        self._answer(200, asdict(payout), times=2 if word == TWICE else 1, whole=word != BROKEN)

    def _failed(self, error: bool, time_out: bool, behaviour: Behaviour) -> bool:
        """Fails as it should, if it should; otherwise it only takes its time."""
        if time_out:
            time.sleep(behaviour.hold_seconds)
            self.close_connection = True
            return True
        time.sleep(behaviour.delay_seconds)
        if error:
            self._answer(500, {"error": "out of order"})
        return error

    def _authorize(self) -> None:
        given = self.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.secret}".encode()):
            raise BadRequest(401, "the secret is missing or wrong")

    def _body(self) -> Any:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise BadRequest(400, f"a body of at most {MAX_BODY_BYTES} bytes with its content-length is missing")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise BadRequest(400, "the body is no JSON") from None

    def _answer(self, status: int, data: dict[str, Any], *, times: int = 1, whole: bool = True) -> None:
        body = json.dumps(data).encode()
        for _ in range(times):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if self.close_connection:
                # Else a client that does not see it in time sends its next request here.
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body if whole else body[: len(body) // 2])
        if not whole:
            self.close_connection = True


def _checked(request: Any) -> dict[str, Any]:
    """Returns a request to pay as it is. Errors: BadRequest."""
    match request:
        case {"amount": int(amount), "currency": str(currency), "recipient": {"type": str()}} if (
            amount > 0 and not isinstance(amount, bool) and amount < 2**63 and len(currency) == 3
        ):
            if not isinstance(request["recipient"].get("card", {}), dict):
                raise BadRequest(400, "the recipient's card is no object")
            return {name: request[name] for name in ("amount", "currency", "recipient")}
        case _:
            raise BadRequest(400, "amount (above 0), currency and recipient (with its type) are missing or wrong")


class Server(ThreadingHTTPServer):
    """A thread for each connection, because some of them are held."""

    request_queue_size = 128


def serve(address: tuple[str, int], book: Path, secret: str) -> None:
    """Serves until the process ends."""
    Handler.book, Handler.secret = Book(book, secret), secret
    Server(address, Handler).serve_forever()


# WAL with synchronous FULL: what was answered is on disk.
_SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS payouts (
        key TEXT PRIMARY KEY, request TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
        status TEXT NOT NULL, reason TEXT NOT NULL, reference TEXT NOT NULL, settles_at REAL NOT NULL,
        requests INTEGER NOT NULL, created_at REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS behaviour (id INTEGER PRIMARY KEY CHECK (id = 1), settings TEXT NOT NULL);
"""
_PAY = """
    INSERT INTO payouts (key, request, amount, currency, status, reason, reference, settles_at, requests, created_at)
    VALUES (:key, :request, :amount, :currency, :status, :reason, :reference, :settles_at, 1, :created_at)
    ON CONFLICT (key) DO UPDATE SET requests = requests + 1
"""
_FIND = "SELECT * FROM payouts WHERE key = :key"
_BEHAVE = "INSERT INTO behaviour VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET settings = excluded.settings"


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    serve((host, int(port)), Path(sys.argv[2]), os.environ["GOZON_PROVIDER_SECRET"])

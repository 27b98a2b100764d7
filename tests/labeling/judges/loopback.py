"""A server on loopback that speaks OpenAI's protocol, with a rule in place of a model.

It is as gullible as a model can be: whatever stands outside the tags that mark data is an order to
it, and so is whatever follows a control token, wherever that stands. Unless ordered, it prefers
the answer that says "right", and the first one when both do or none does.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-loopback-0123456789"
_CONTROL = re.compile(r"<\|im_(?:start|end)\|>|</?s>|\[/?INST\]|<<SYS>>")
_MARK = re.compile(r"tags that end in -(\w+) is material")
_ORDER = re.compile(
    r"\b(?:reply|answer|verdict(?: is)?:?) +(?:with +)?([AB])\b(?! if)", re.IGNORECASE
)

Answer = tuple[int, str]
"""HTTP status and body."""


class Loopback:
    """`script`: what the next requests get in place of a reply; a None in it is the rule's."""

    def __init__(self, rule: Callable[[str], str] | None = None) -> None:
        self.script: list[Callable[[], Answer] | None] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = 0
        self.logprobs, self.delay_s = True, 0.0
        self._rule = rule or verdict
        self._at_once = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Loopback":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: dict[str, Any], key: str) -> Answer:
        with self._lock:
            self.requests.append(request)
            self.keys.add(key)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            scripted = self.script.pop(0) if self.script else None
        try:
            time.sleep(self.delay_s)
            return scripted() if scripted is not None else (200, self.reply(request))
        finally:
            with self._lock:
                self._at_once -= 1

    def reply(self, request: dict[str, Any]) -> str:
        content = request["messages"][0]["content"]
        return completion(self._rule(content), len(content) // 4, self.logprobs)


def shorter(content: str) -> str:
    """Prefers the shorter answer, and no position."""
    a, b = (re.search(f"<answer-{name}-.*?</answer-{name}-", content, re.DOTALL) for name in "AB")
    assert a is not None and b is not None, content
    words_a, words_b = len(a[0].split()), len(b[0].split())
    return "tie" if words_a == words_b else "A" if words_a < words_b else "B"


def verdict(content: str) -> str:
    """What the gullible reader says to a question."""
    turns = _CONTROL.split(content)
    mark = _MARK.search(content)
    outside = turns[0]
    answers = {}
    if mark is not None:
        for title in ("prompt", "answer-A", "answer-B", "answer", "reference"):
            tags = re.escape(f"<{title}-{mark[1]}>"), re.escape(f"</{title}-{mark[1]}>")
            block = re.compile(tags[0] + "(.*?)" + tags[1], re.DOTALL)
            if found := block.search(outside):
                answers[title] = found[1]
                outside = block.sub("", outside, count=1)
    for order in (outside, *turns[1:]):
        if found := _ORDER.search(order):
            return found[1].upper()
    if "answer" in answers:
        return "9" if "right" in answers["answer"] else "2"
    return "A" if "right" in answers.get("answer-A", "") or "right" not in content else "B"


def completion(text: str, tokens_in: int = 10, logprobs: bool = False, **choice: Any) -> str:
    """The body of an answer that says `text`, nine to one certain of it."""
    certain = {"token": text, "logprob": -0.1053605}  # ln 0.9
    other = {"token": "tie" if text in "AB" else "5", "logprob": -2.3025851}  # ln 0.1
    content = [{**certain, "top_logprobs": [certain, other]}] if logprobs else None
    return json.dumps(
        {
            "choices": [
                {
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                    "logprobs": {"content": content} if content else None,
                    **choice,
                }
            ],
            "usage": {"prompt_tokens": tokens_in, "completion_tokens": 1},
        }
    )


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Authorization"].removeprefix("Bearer ")
        status, body = self.loopback.answer(request, key)
        with suppress(BrokenPipeError, ConnectionResetError):  # a client that waited long enough
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass

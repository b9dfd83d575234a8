"""A chat-completion server that answers by rules, and misbehaves on demand. It stands for the network and the server,
never for a model: what it says of a document follows from words in it, so that tests know the right answer.

As a program (`python stub_server.py PORT [DELAY_S]`) it can be killed.
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from aiohttp import web

HERE = str(Path(__file__).parent)

#: Word in the document -> labels. What no word decides is the first value of its enum.
RULES = {
    "theorem": {"field": "stem", "domain": "mathematics", "educational_value": 5, "information_density": 4},
    "kernel": {"field": "stem", "domain": "computing", "educational_value": 3, "information_density": 3},
    "recipe": {"field": "daily_life", "domain": "food", "educational_value": 2, "writing_quality": 3},
    "casino": {"domain": "other", "document_type": "boilerplate", "safety": "crime", "writing_quality": 1},
}


def document_of(body):
    """The document in a request."""
    user = body["messages"][-1]["content"]
    return user.split("<document>\n")[-1].split("\n</document>")[0]


def labels_of(text, properties):
    """The labels the rules give a document."""
    found = {}
    for word, labels in RULES.items():
        if word in text:
            found |= labels
    return {name: found.get(name, spec.get("enum", [True])[0]) for name, spec in properties.items()}


def answer_to(body):
    """What the server says to a well-formed request."""
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
        return json.dumps(labels_of(document_of(body), schema["properties"]))
    return f"In other words: {document_of(body)}"


class StubServer:
    """`with StubServer() as server:` serves at `server.url`.

    trouble(n, body): called with the number of the request (from 0); None answers well, a `web.Response` is sent as
    it is, a string is the content of a completion, a number is a wait in seconds before a good answer.
    """

    def __init__(self, trouble=None, model="stub", names=None, port=0, host="127.0.0.1"):
        self.trouble, self.port, self.host = trouble, port, host
        self.names = names or [model, f"{model}@1"]
        self.requests = []
        self.served = Counter()  # document -> good answers
        self.in_flight = self.peak = 0
        self._ready = threading.Event()

    async def _completion(self, request):
        body = await request.json()
        n = len(self.requests)
        self.requests.append(body)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            if body["model"] not in self.names:
                return web.json_response({"error": f"no model {body['model']}"}, status=404)
            what = self.trouble(n, body) if self.trouble else None
            if isinstance(what, int | float):
                await asyncio.sleep(what)
                what = None
            if isinstance(what, web.Response):
                return what
            if what is None:
                self.served[document_of(body)] += 1
            content = answer_to(body) if what is None else what
            return web.json_response(completion(content, body))
        finally:
            self.in_flight -= 1

    async def _models(self, _):
        return web.json_response({"data": [{"id": name, "root": "/models/stub"} for name in self.names]})

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._completion)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def _main(self):
        asyncio.run(self._serve())

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


def completion(content, body, finish="stop"):
    """The body of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    if body.get("logprobs"):  # every character a token; a digit 3 could also have been a 4, one to three
        tokens = []
        for c in content:
            top = [{"token": c, "logprob": 0.0}]
            if c == "3":
                top = [{"token": "3", "logprob": -0.2877}, {"token": "4", "logprob": -1.3863}]
            tokens.append({"token": c, "logprob": top[0]["logprob"], "top_logprobs": top})
        choice["logprobs"] = {"content": tokens}
    usage = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": max(1, len(content) // 4)}
    return {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}


if __name__ == "__main__":
    delay = float(sys.argv[2]) if len(sys.argv) > 2 else None
    with StubServer(trouble=(lambda n, body: delay) if delay else None, port=int(sys.argv[1])) as running:
        print(running.url, flush=True)
        while True:
            time.sleep(1)

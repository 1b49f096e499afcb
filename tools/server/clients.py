"""Unmodified client libraries against running servers: clients.py http://HOST:PORT [http://HOST:PORT]

The second one has a chat template that knows tools. Needs the packages openai and ollama. Prints a line for each check; exit code 1 at the first that fails.
"""

import asyncio
import json
import sys

import httpx
import ollama
import openai

BASE, *TOOLS = [address.rstrip("/") for address in sys.argv[1:]]
QUESTION = [{"role": "user", "content": "What is 27 + 45?"}]


def check(name, holds, found):
    print(f"{'ok  ' if holds else 'FAIL'} {name}")
    if not holds:
        sys.exit(f"found: {found!r}")


def with_openai():
    client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="none")
    model = client.models.list().data[0].id
    whole = client.chat.completions.create(model=model, messages=QUESTION)
    text = whole.choices[0].message.content
    check("openai: an answer", bool(text) and whole.usage.completion_tokens > 0, whole)
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    check("openai: the stream is the answer", pieces == text, pieces)
    check("openai: the stream counts the same tokens", chunks[-1].usage.completion_tokens == whole.usage.completion_tokens, chunks[-1])
    own = client.chat.completions.create(model=model, messages=QUESTION, extra_body={"diffusion": {"threshold": 1.0}})
    check("openai: options of diffusion", own.choices[0].message.content is not None, own)
    likely = client.chat.completions.create(model=model, messages=QUESTION, logprobs=True)
    check("openai: logprobs", len(likely.choices[0].logprobs.content) == whole.usage.completion_tokens, likely)
    likely = client.chat.completions.create(model=model, messages=QUESTION, logprobs=True, top_logprobs=3)
    best = likely.choices[0].logprobs.content[0].top_logprobs
    check("openai: top_logprobs", len(best) == 3 and best[0].token == likely.choices[0].logprobs.content[0].token, likely)
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    try:
        client.chat.completions.create(model=model, messages=QUESTION, tools=[tool])
    except openai.BadRequestError as error:
        check("openai: tools that the template does not know", error.param == "tools", error)
    raw = "<|im_start|>user\nTell a story about Mia the fox.<|im_end|>\n<|im_start|>assistant\n"
    completion = client.completions.create(model=model, prompt=raw, max_tokens=4)
    check("openai: completions", completion.usage.completion_tokens == 4, completion)
    try:
        client.chat.completions.create(model="gpt-4", messages=QUESTION)
    except openai.NotFoundError as error:
        check("openai: an unknown model", error.code == "model_not_found", error)
    try:
        client.chat.completions.create(model=model, messages=QUESTION, temperature=-1)
    except openai.BadRequestError as error:
        check("openai: a bad value", error.param == "temperature", error)
    return model, text


async def with_async_openai(model, text):
    client = openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key="none")
    ask = lambda: client.chat.completions.create(model=model, messages=QUESTION)
    answers = await asyncio.gather(*(ask() for _ in range(16)))
    texts = {answer.choices[0].message.content for answer in answers}
    check("openai, async: 16 at once", texts == {text}, texts)
    pieces = []
    async for chunk in await client.chat.completions.create(model=model, messages=QUESTION, stream=True):
        pieces.append(chunk.choices[0].delta.content or "")
    check("openai, async: a stream", "".join(pieces) == text, pieces)


SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 999}, "sure": {"type": "boolean"}},
    "required": ["sum", "sure"],
    "additionalProperties": False,
}


def fits(text):
    answer = json.loads(text)
    return set(answer) == {"sum", "sure"} and 0 <= answer["sum"] <= 999 and isinstance(answer["sure"], bool)


def with_schemas(model):
    client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="none")
    form = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True}}
    answer = client.chat.completions.create(model=model, messages=QUESTION, response_format=form).choices[0]
    check("openai: a schema", answer.finish_reason == "stop" and fits(answer.message.content), answer)
    answer = client.chat.completions.create(model=model, messages=QUESTION, extra_body={"regex": "(yes|no)!"}).choices[0]
    check("openai: a regular expression", answer.message.content in ("yes!", "no!"), answer)
    answer = ollama.Client(host=BASE).chat(model=model, messages=QUESTION, format=SCHEMA)
    check("ollama: a schema", fits(answer.message.content), answer)


def with_decisions():
    """Our own API, through the client's way of requesting any path."""
    client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="none")
    color = {"options": ["red", "blue", "green"], "lead": "The kite is "}
    body = {"state": "Mia has a red kite. What color is the kite?", "prompt": "{state}", "questions": {"color": color}}
    answer = client.post("/decisions", body=body, cast_to=object)["answers"]["color"]
    check("openai: decisions", answer["answer"] == "red" and abs(sum(answer["probabilities"].values()) - 1) < 1e-9, answer)
    try:
        client.post("/decisions", body={"state": "x", "questions": {}}, cast_to=object)
    except openai.BadRequestError as error:
        check("openai: a decision without questions", error.param == "questions", error)


def parameters(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
ADD = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": parameters(a=NUMBER, b=NUMBER)}}
PAINT = {"type": "function", "function": {"name": "paint", "parameters": parameters(color={"enum": ["red", "blue"]})}}


def adds(arguments):
    return set(arguments) == {"a", "b"} and all(isinstance(number, int) and 0 <= number <= 99 for number in arguments.values())


def with_tools(base):
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none")
    model = client.models.list().data[0].id
    ask = lambda choice, **more: client.chat.completions.create(model=model, messages=QUESTION, tools=[ADD, PAINT], tool_choice=choice, **more)
    answer = ask("none").choices[0]
    check("openai: tool_choice none", answer.finish_reason == "stop" and answer.message.tool_calls is None, answer)
    # The demo model knows no tools: whatever it says about them is not a call.
    answer = ask("auto", max_tokens=32).choices[0]
    check("openai: tool_choice auto", answer.finish_reason in ("stop", "length") and answer.message.tool_calls is None, answer)
    answer = ask("required").choices[0]
    check("openai: tool_choice required", answer.finish_reason == "tool_calls" and len(answer.message.tool_calls) == 1, answer)
    named = {"type": "function", "function": {"name": "add"}}
    call = ask(named).choices[0].message.tool_calls[0]
    check("openai: tool_choice of a function", call.function.name == "add" and adds(json.loads(call.function.arguments)), call)
    chunks = [chunk.choices[0].delta for chunk in ask(named, stream=True) if chunk.choices]
    streamed = [call.function for delta in chunks for call in delta.tool_calls or []]
    check("openai: a call as a stream", [one.arguments for one in streamed] == [call.function.arguments], chunks)
    result = {"role": "tool", "tool_call_id": call.id, "content": "72"}
    turns = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}, result]
    answer = client.chat.completions.create(model=model, messages=turns, tools=[ADD])
    check("openai: a result", bool(answer.choices[0].message.content), answer)
    try:
        ask({"type": "function", "function": {"name": "divide"}})
    except openai.BadRequestError as error:
        check("openai: a tool that is not given", error.param == "tool_choice.function.name", error)
    ollama_tools(base, model)


class Choosing(httpx.HTTPTransport):
    """Adds to what this client sends the field that it does not know."""

    def handle_request(self, request):
        body = {**json.loads(request.read()), "tool_choice": {"type": "function", "function": {"name": "paint"}}}
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        return super().handle_request(httpx.Request(request.method, request.url, headers=headers, json=body))


def ollama_tools(base, model):
    client = ollama.Client(host=base)
    check("ollama: what a model can", "tools" in client.show(model).capabilities, client.show(model))
    answer = client.chat(model=model, messages=QUESTION, tools=[ADD, PAINT])
    check("ollama: tools, and no call", bool(answer.message.content) and not answer.message.tool_calls, answer)
    choosing = ollama.Client(host=base, transport=Choosing())
    answer = choosing.chat(model=model, messages=QUESTION, tools=[ADD, PAINT])
    call = answer.message.tool_calls[0]
    # Of a schema this client sends types and enumerations.
    check("ollama: a call", call.function.name == "paint" and call.function.arguments["color"] in ("red", "blue"), answer)
    parts = list(choosing.chat(model=model, messages=QUESTION, tools=[ADD, PAINT], stream=True))
    streamed = [one for part in parts for one in part.message.tool_calls or []]
    check("ollama: a call as a stream", streamed == [call] and parts[-1].done, parts)
    turns = [*QUESTION, answer.message, {"role": "tool", "tool_name": "paint", "content": "done"}]
    answer = client.chat(model=model, messages=turns, tools=[PAINT])
    check("ollama: a result", bool(answer.message.content), answer)


def with_ollama(model, text):
    client = ollama.Client(host=BASE)
    check("ollama: list", client.list().models[0].model == f"{model}:latest", client.list())
    check("ollama: show", bool(client.show(model).details.family), client.show(model))
    answer = client.chat(model=model, messages=QUESTION)
    check("ollama: chat", answer.message.content == text, answer)
    pieces = "".join(part.message.content for part in client.chat(model=model, messages=QUESTION, stream=True))
    check("ollama: chat as a stream", pieces == text, pieces)
    answer = client.generate(model=model, prompt="What is 27 + 45?", options={"temperature": 0, "num_predict": 64})
    check("ollama: generate", answer.response == text, answer)
    try:
        client.chat(model="llama3", messages=QUESTION)
    except ollama.ResponseError as error:
        check("ollama: an unknown model", error.status_code == 404, error)


model, text = with_openai()
asyncio.run(with_async_openai(model, text))
with_ollama(model, text)
with_schemas(model)
with_decisions()
for address in TOOLS:
    with_tools(address)

"""Speaks to a daemon over WebSocket with libraries that we did not write.

usage: websocket_peer.py http://127.0.0.1:PORT TOKEN
"""
import asyncio
import base64
import json
import sys
from pathlib import Path

import numpy as np
import websockets
from jsonrpcclient import Error, Ok, parse, request

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "residual-a"


async def main(url, token):
    address = url.replace("http://", "ws://")
    headers = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(address, additional_headers=headers, max_size=None) as socket:

        async def ask(method, **params):
            await socket.send(json.dumps(request(method, params)))
            return parse(json.loads(await socket.recv()))

        info = await ask("server.info")
        assert isinstance(info, Ok) and info.result["devices"][0]["name"] == "cpu", info

        loaded = await ask("model.load", source=str(GOLDEN / "model.onnx"), name="residual")
        given = await ask("input.load", path=str(GOLDEN / "input.npy"))
        answer = await ask("attribution.saliency", model="residual", input=given.result["input"], target={"class": 9})
        tensor = answer.result["tensor"]
        found = np.frombuffer(base64.b64decode(tensor["data"]), "<f4").reshape(tensor["shape"])
        expected = np.load(GOLDEN / "01-attribution-saliency.npy").reshape(found.shape)
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-5), np.abs(found - expected).max()

        nested = await ask("model.forward", model="residual", input=given.result["input"], encoding="json")
        assert np.allclose(np.array(nested.result["tensor"]["data"]), np.load(GOLDEN / "00-model-forward.npy").ravel(), rtol=1e-4, atol=1e-5)

        path = (await ask("model.forward", model="residual", input=given.result["input"], encoding="npy")).result["tensor"]["data"]
        assert np.array_equal(np.load(path), np.array(nested.result["tensor"]["data"], dtype="f4")), path

        refused = await ask("attribution.grad_cam", model="residual", input=given.result["input"], layer="/4/conv1/Conf")
        assert isinstance(refused, Error) and refused.code == -32030, refused
        assert refused.data["nearest"][0] == "/4/conv1/Conv", refused

        document = await ask("rpc.discover")
        assert document.result["openrpc"].startswith("1."), document.result["openrpc"]

        await cancels(socket, loaded.result["model"])
    await refuses_strangers(address)
    print("the WebSocket peer is content")


async def cancels(socket, model):
    """A running request is cancelled by its id, on the same connection."""
    slow = {"source": "vgg16", "weights": "random", "seed": 1, "name": "slow"}
    await socket.send(json.dumps(request("model.load", slow, id="load")))
    assert "result" in json.loads(await socket.recv())
    noise = np.random.default_rng(0).normal(size=(3, 224, 224)).astype("f4")
    tensor = {"shape": list(noise.shape), "data": base64.b64encode(noise.tobytes()).decode()}
    params = {"model": "slow", "input": tensor, "target": list(range(40))}
    await socket.send(json.dumps(request("attribution.saliency", params, id="long")))
    await asyncio.sleep(0.3)
    await socket.send(json.dumps(request("cancel", {"id": "long"}, id="stop")))
    answers = {}
    while len(answers) < 2:
        answer = json.loads(await asyncio.wait_for(socket.recv(), 30))
        answers[answer["id"]] = answer
    assert answers["stop"]["result"]["cancelled"] is True, answers["stop"]
    assert answers["long"]["error"]["data"]["kind"] == "cancelled", answers["long"]


async def refuses_strangers(address):
    try:
        async with websockets.connect(address):
            raise AssertionError("a connection without a token was accepted")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 401, refused


asyncio.run(main(*sys.argv[1:]))

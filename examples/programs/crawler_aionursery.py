"""A crawler: each page once, ten requests at a time, three attempts at each, a minute in all."""

import re

import httpx
import loopback
import stamina

import aionursery
from aionursery import Nursery


@stamina.retry(on=httpx.HTTPError, attempts=3, wait_initial=0.01)
async def fetch(client: httpx.AsyncClient, path: str) -> str:
    response = await client.get(path)
    return response.raise_for_status().text


async def crawl(base: str) -> set[str]:
    seen = {"/"}

    async def visit(path: str) -> None:
        text = await fetch(client, path)
        for link in set(re.findall('href="(.*?)"', text)) - seen:
            seen.add(link)
            nursery.start_soon(visit, link)

    async with (
        httpx.AsyncClient(base_url=base) as client,
        Nursery(limit=10, relative_deadline=60, on_error=print) as nursery,
    ):
        nursery.start_soon(visit, "/")
    return seen


if __name__ == "__main__":
    with loopback.site(at_once=10) as base:
        print(len(aionursery.run(crawl(base))), "pages")

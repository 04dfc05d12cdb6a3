"""`bulkhead upstreams`: where models come from, and whether they answer. Never shows a secret."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer
from rich.console import Console
from rich.table import Column, Table

from gateway.cli.common import CommandFailed, WrongUsage, print_json
from gateway.routing.build import build_provider, plan_of
from gateway.routing.check import Checked, check, model_to_ask
from gateway.routing.plan import SCHEMES, RoutingPlan, UpstreamPlan
from gateway.settings import load_settings

app = typer.Typer(help="Show where models come from and try whether they answer.", no_args_is_help=True,
                  add_completion=False)  # fmt: skip

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list", epilog="Example: bulkhead upstreams list --json")
def list_upstreams(as_json: AsJson = False) -> None:
    """Show the configured upstreams and the model names that lead to them. Asks nobody."""
    plan = plan_of(load_settings())
    shown = _shown(plan)
    if as_json:
        print_json(shown)
        return
    # Nothing is cut off: on a narrow terminal addresses take several lines.
    table = Table(
        Column("upstream", no_wrap=True),
        Column("kind", no_wrap=True),
        Column("url", overflow="fold"),
        Column("credential", overflow="fold", max_width=10),
        Column("limits", no_wrap=True),
    )
    for one in shown["upstreams"]:
        name = f"{one['name']} (default)" if one["name"] == plan.default else one["name"]
        limits = [f"{one['concurrency']} at a time", f"{one['attempts']} tries"]
        where = [one["url"], *([f"by proxy {one['proxy']}"] if one["proxy"] else [])]
        table.add_row(name, one["kind"], "\n".join(where), one["credential"], "\n".join(limits))
    console = Console(markup=False)
    console.print(f"From {plan.source}:")
    console.print(table)
    if plan.models:
        names = Table("model", "leads to", "then", "max tokens")
        for model in shown["models"]:
            first, *others = model["targets"]
            names.add_row(model["name"], first, ", ".join(others) or "-", str(model["max_tokens"] or "-"))
        console.print(names)


@app.command("check", epilog="Example: bulkhead upstreams check azure --model opus-deployment")
def check_upstreams(
    name: Annotated[str | None, typer.Argument(help="Only this upstream.")] = None,
    model: Annotated[str | None, typer.Option(help="The upstream's own name of the model to ask.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Longest wait for one upstream.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Ask each upstream for one token. Costs one small model call each.

    Exits 1 when one does not answer.
    """
    plan = plan_of(load_settings())
    chosen = [one for one in plan.upstreams if name in (None, one.name)]
    if not chosen:
        raise WrongUsage(f"there is no upstream {name!r}; there are {', '.join(one.name for one in plan.upstreams)}.")
    if model is not None and len(chosen) > 1:
        raise WrongUsage("--model needs the name of one upstream.")
    found = asyncio.run(_check_all(plan, chosen, model, seconds))
    if as_json:
        print_json([{**asdict(one), "ok": one.well} for one in found])
    else:
        _print_checked(found)
    failed = [one.upstream for one in found if not one.well]
    if failed:
        raise CommandFailed(f"{', '.join(failed)} did not answer as it should; see docs/upstreams.md.")


async def _check_all(plan: RoutingPlan, chosen: list[UpstreamPlan], model: str | None, seconds: float) -> list[Checked]:
    async def one(upstream: UpstreamPlan) -> Checked:
        provider = build_provider(upstream)
        try:
            return await check(provider, upstream.name, model or model_to_ask(plan, upstream.name), seconds)
        finally:
            await provider.aclose()

    return list(await asyncio.gather(*(one(upstream) for upstream in chosen)))


def _print_checked(found: list[Checked]) -> None:
    table = Table(Column("upstream", no_wrap=True), "model", "first event", "whole answer", "answered as", "result")
    for one in found:
        times = [f"{value:.0f} ms" if value is not None else "-" for value in (one.first_ms, one.whole_ms)]
        result = "ok" if one.problem is None else one.problem.encode("ascii", "backslashreplace").decode()
        table.add_row(one.upstream, one.model or "-", *times, one.answered_as or "-", result)
    Console(markup=False).print(table)


def _shown(plan: RoutingPlan) -> dict[str, Any]:
    return {
        "source": plan.source,
        "default": plan.default,
        "discovery": plan.discovery,
        "offered": list(plan.offered),
        "upstreams": [_shown_upstream(one) for one in plan.upstreams],
        "models": [
            {
                "name": entry.name,
                "display_name": entry.display_name or None,
                "max_tokens": entry.max_tokens,
                "targets": [f"{target.upstream}: {target.model}" for target in entry.targets],
            }
            for entry in plan.models
        ],
    }


def _shown_upstream(plan: UpstreamPlan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "kind": plan.kind,
        "url": _bare(plan.url) + (plan.path or ""),
        "credential": _credential(plan),
        "dialect": plan.dialect,
        "version": plan.version,
        "hosted_on_azure": plan.hosted_on_azure,
        "without": list(plan.without),
        "with": list(plan.with_),
        "headers": sorted(plan.headers),
        "concurrency": plan.concurrency,
        "attempts": plan.attempts,
        "breaker_failures": plan.breaker_failures,
        "connect_seconds": plan.connect,
        "silence_seconds": plan.silence,
        "proxy": _bare(plan.proxy) if plan.proxy else None,
        "no_proxy": plan.no_proxy,
        "ca_file": str(plan.ca_file) if plan.ca_file else None,
    }


def _credential(plan: UpstreamPlan) -> str:
    if plan.oauth is not None:
        return f"OAuth as {plan.oauth.client_id}"
    return "none" if plan.secret is None else str(plan.scheme or SCHEMES[plan.kind][0])


def _bare(url: str) -> str:
    """Without user, password and query: any of them may hold a secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))

"""What the README's section on sharing promises: its numbers are those of the code."""

from __future__ import annotations

import importlib
from pathlib import Path

from pipelines.clustering.data.tables import MAX_BYTES as TABLE_BYTES
from studio.api import access, connections, visitor_limits
from studio.core import upload_ledger
from studio.core.accounts import rate_limits, sessions
from studio.core.jobs import live
from studio.core.settings import Settings
from studio.features.chat.answers import slots
from studio.features.clustering import request_limits
from studio.features.clustering.results import animation_runs
from studio.features.control import conditions
from studio.features.labs import inspect
from studio.features.mcp import sessions as mcp_sessions
from studio.features.mcp.feature import MAX_BYTES as MCP_BYTES
from studio.features.openai_api.feature import MAX_BYTES as OPENAI_BYTES
from studio.page import sessions as page_sessions

ROOT = Path(__file__).parents[3]
DAY, MB = 24 * 3600, 1_000_000


def _tables() -> list[dict[str, list[str]]]:
    """The tables of the section: first column → the others, without the heads."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Sharing\n")[2]
    lines = section.partition("\n### ")[0].splitlines()
    tables: list[dict[str, list[str]]] = [{}]
    for line in lines:
        if line.startswith("|"):
            first, *others = [cell.strip() for cell in line.strip("|").split("|")]
            tables[-1][first] = others
        elif tables[-1]:
            tables.append({})
    for table in tables[:-1]:
        del table[next(iter(table))], table["---"]
    return tables[:-1]


def _limits() -> dict[str, list[str]]:
    """The table of limits as the code has them."""
    settings, streams = Settings(), [each.limit for each in visitor_limits.STREAMS]
    large, small = access.MAX_LARGE_UPLOAD_BYTES, access.MAX_UPLOAD_BYTES
    return {
        "Connections": [
            f"{connections.MAX_ADDRESS_CONNECTIONS} an address (the machine's own and a tunnel's: "
            "no limit)",
            f"{connections.MAX_CONNECTIONS}",
        ],
        "Time to say what is wanted": [
            f"{connections.HEAD_SECONDS:.0f} s, then {connections.BODY_SECONDS:.0f} s between two "
            "parts",
            "",
        ],
        "Wrong passwords": [
            f"{rate_limits.MAX_FAILURES} a name and {rate_limits.MAX_ADDRESS_FAILURES} an address "
            f"in {rate_limits.FAILURE_SECONDS:.0f} s",
            "",
        ],
        "Logins that wait": ["", f"{rate_limits.MAX_WAITING}"],
        "A login": [
            f"{sessions.SESSION_SECONDS // DAY} days; {sessions.DEVICE_SECONDS // DAY} days the "
            "browser is known",
            "",
        ],
        "Open pages": [
            f"{streams[0] // 2} ({streams[0]} streams)",
            f"{page_sessions.MAX_SESSIONS} are remembered",
        ],
        "Watches of jobs and answers": [f"{streams[1]}", ""],
        "Events of the page": [
            f"{visitor_limits.EVENTS_AT_ONCE} at once, then {visitor_limits.EVENTS_PER_SECOND:.0f} "
            "a second",
            "",
        ],
        "Body of a request": [
            f"{access.MAX_JSON_BYTES // MB} MB; {OPENAI_BYTES // MB} MB for `/v1`, `/mcp` and "
            f"`/sdapi`; "
            f"{small // MB} MB for a picture; {TABLE_BYTES // MB} MB for a table; {large // MB} MB "
            "for LoRAs and photos",
            "",
        ],
        "Uploads not used yet": [
            f"{upload_ledger.MAX_WAITING_FILES} files, {upload_ledger.MAX_WAITING_BYTES // MB} MB",
            f"{upload_ledger.FREE_BYTES // MB} MB of the disk stay free",
        ],
        "Jobs in the queue": [f"{settings.queue_limit} (a setting)", ""],
        "Disk of a guest": [
            f"{settings.guest_quota_mb} MB and {settings.guest_conversations} conversations "
            "(settings)",
            "",
        ],
        "Answers of chat at once": [
            f"{slots.MAX_OF_GUEST} a guest, {slots.MAX_OF_OWNER} others",
            f"{slots.MAX_ANSWERS}",
        ],
        "Live pictures": [
            "the newest wish waits",
            f"{live.AT_ONCE} at a time, after all jobs; {live.MAX_WAITING} wishes wait",
        ],
        "Maps, animations, looks inside": [
            f"{conditions.EACH_ASKED}, {animation_runs.EACH_WAITS} and {inspect.EACH_ASKED} "
            "asked for at once",
            "they wait in turn",
        ],
        "Data to cluster, plots, plots by UMAP, results": [
            f"{request_limits.EACH_ASKED} of each asked for at once",
            f"{request_limits.ALL_ASKED} of each, which wait in turn",
        ],
        "Agents by MCP": [
            f"{mcp_sessions.MAX_SESSIONS} sessions, {mcp_sessions.MAX_OPEN} calls and streams at "
            "once",
            "",
        ],
        "An API key": [
            f"{settings.key_requests_per_minute} requests and {settings.key_tokens_per_minute} "
            "tokens a minute (settings)",
            "",
        ],
    }


def test_limits_are_those_of_the_code():
    assert _tables()[2] == _limits()
    assert MCP_BYTES == OPENAI_BYTES, "the table has one number for both"


# What holds each promise: a promise without a test is none.
HELD_BY = {
    "Files of the machine": "tests.studio.page.test_page_events.test_no_event_reads_a_file_of_the_"
    "server_or_of_another_visitor",
    "Other addresses": "tests.studio.api.test_gradio_guard.test_no_event_of_the_page_"
    "fetches_an_address",
    "Settings, keys, models": "tests.studio.api.test_access.test_guest_cannot_make_the_studio_"
    "download_a_model",
    "Other sites": "tests.studio.api.test_access.test_request_of_a_foreign_page_is_refused",
    "Guests' files": "tests.pipelines.core.test_sandbox.test_it_has_its_files_and_nobody_elses",
    "One another's things": "tests.studio.api.test_access.test_visitors_do_not_see_each_"
    "other_s_things",
    "Turns": "tests.studio.core.jobs.test_jobs.test_owners_take_turns_each_in_their_own_order",
    "Passwords": "tests.studio.api.test_access.test_a_copied_cookie_is_worth_nothing_"
    "after_logging_out",
}


def test_each_promise_has_its_test():
    to_host, to_guests, _ = _tables()
    assert [*to_host, *to_guests] == [*HELD_BY]
    for each in HELD_BY.values():
        module, _, name = each.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
